"""Archives of models: checked, pushed, and kept under their digests."""
