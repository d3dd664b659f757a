"""The operations of each kind of model."""
