"""Evaluation: metrics, intervals, calibration, operating points and drift, from arrays. No files but `predictions.csv`, no torch."""
