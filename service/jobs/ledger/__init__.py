"""The rebuildable index of jobs in Redis."""
