"""What a pre-trained pair remembers of its corpus: planted secrets, and training rows against held-out ones."""
