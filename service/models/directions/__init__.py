"""Directions in the latent spaces of generators: kept beside the archives, and found."""
