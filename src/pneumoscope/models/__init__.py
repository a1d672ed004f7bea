"""Networks: images in, logits out; independent of image files, training and decisions."""
