"""Image files become an index, an audit, a split and an array: the first two steps of a film to a decision."""
