"""Labelled files as they lie: one reader for each shape, all of them giving `Record`s."""
