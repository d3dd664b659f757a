"""A model on its device: loading, latents and micro-batches."""
