"""`elektron serve`: an HTTP API for a model, with a page to try it."""
