"""Training of detectors: cross-fitting over acquisition clusters, shortcut stress validation, and the bundle."""
