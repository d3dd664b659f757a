"""Scores of samples, one file per score. NumPy only, so that workers without torch can compute them."""
