"""A model behind an HTTP API, with a page to try it."""
