"""What runs inside TorchServe, one handler per kind of model, and packing a run into an archive."""
