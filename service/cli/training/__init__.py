"""The verbs of training, packing and exporting."""
