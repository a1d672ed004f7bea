"""Presentation of results: figures in one style, self-contained HTML pages, Markdown tables."""
