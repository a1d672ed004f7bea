"""Adaptation: a bundle and a site's labelled images -> the site's own bundle. Needs no PyTorch."""
