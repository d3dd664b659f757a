"""Neurons of a sparse autoencoder: which one detects a concept, how well, and what stimulates it."""
