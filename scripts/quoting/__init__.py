"""Blocks of README and docs that quote `results/`: one module per subject, and three shared ones.

`results` reads the records, `formatting` turns numbers into cells, `package` holds the imports from pneumoscope.
"""
