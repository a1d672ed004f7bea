"""Image files become an index, an audit, a split and an array: the first two steps of an image to a decision."""
