"""Pre-training: train a generator and a discriminator on prepared blocks. `train.py` has the training loop.

This package imports nothing heavy.
"""
