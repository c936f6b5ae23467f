"""Inference with trained models: `elektron predict`, `evaluate`, `detect` and `export`."""
