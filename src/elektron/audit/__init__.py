"""Memorization audits of a pre-trained generator and discriminator: planted secrets and membership inference."""
