"""Scoring archives of any size: partitions, judged by one machine's processes or by a cluster."""
