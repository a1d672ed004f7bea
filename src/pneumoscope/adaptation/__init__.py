"""Adaptation: a bundle and a site's labelled images -> the site's own bundle. Only `fine_tuning.py` needs PyTorch."""
