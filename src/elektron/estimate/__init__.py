"""What a pre-training will cost, before it."""
