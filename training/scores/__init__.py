"""Scores of samples, one file a score. NumPy only, so that a worker without torch reduces the same sums."""
