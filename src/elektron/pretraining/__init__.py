"""Blocks in, a trained pair out. Nothing heavy is imported here; see `train.py` for the step."""
