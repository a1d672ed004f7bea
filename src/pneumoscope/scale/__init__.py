"""Scoring of archives of any size: partitions, predicted by the processes of one machine or by a cluster."""
