"""A model on its device: loading, latents, and the sizes of forward passes."""
