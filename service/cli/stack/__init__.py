"""The verbs that start processes."""
