"""`elektron explain`: which words an answer of a model depends on, and how far that can be believed."""
