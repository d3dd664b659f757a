"""A model on its device."""
