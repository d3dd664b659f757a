"""Neurons of a sparse autoencoder: which one knows a concept, how well, and what it looks for."""
