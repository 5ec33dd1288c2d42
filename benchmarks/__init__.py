"""Measurements behind what the README and the code say; each writes JSON into `results/`."""
