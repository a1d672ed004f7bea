"""The networks: images in, logits out. Nothing here knows of files of images, of training or of decisions."""
