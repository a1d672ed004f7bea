"""Training on several hospitals, each left out once: what a network of many hospitals is worth at the next one."""
