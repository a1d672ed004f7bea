"""Training of networks: from images and a configuration to a run folder with settings, metrics, checkpoint and weights."""
