"""Probabilities and labels become numbers with intervals, figures and a report. NumPy only; no torch."""
