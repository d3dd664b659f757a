"""Which models should be served, and asking them."""
