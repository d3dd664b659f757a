"""Networks that extract the features by which images are compared."""
