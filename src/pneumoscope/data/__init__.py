"""Data: image files to an index, an audit, a split and preprocessed arrays."""
