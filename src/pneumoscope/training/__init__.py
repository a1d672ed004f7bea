"""Images and a configuration become a run folder: settings, metrics, checkpoint, trained weights."""
