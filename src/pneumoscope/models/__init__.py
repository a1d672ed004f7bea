"""The networks: films in, logits out. Nothing here knows of files of films, of training or of decisions."""
