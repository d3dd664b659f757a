"""LatentService, one class per group of calls."""
