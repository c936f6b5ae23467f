"""`elektron explain`: shows which words a model's answer depends on, and measures how faithful this explanation is."""
