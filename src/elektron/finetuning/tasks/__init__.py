"""The tasks, one module each; `base.py` defines their common interface."""
