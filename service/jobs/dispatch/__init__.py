"""The dispatcher: hints, ends, rebuilding, retention."""
