"""Estimates of what a pre-training run will cost."""
