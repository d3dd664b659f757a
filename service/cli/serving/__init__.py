"""The verbs that call a running service."""
