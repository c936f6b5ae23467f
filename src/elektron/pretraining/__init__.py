"""Blocks in, a trained pair out. Nothing heavy is imported here; see `loop.py` for the way through."""
