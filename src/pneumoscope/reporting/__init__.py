"""How results are shown: figures in one style, self-contained pages, progress."""
