"""What runs inside TorchServe, one file a kind of model, and packing a run into an archive. Imports training only."""
