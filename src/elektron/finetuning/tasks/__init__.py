"""The tasks, one file each, all of the shape that `base.py` describes."""
