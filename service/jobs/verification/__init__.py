"""Whether a finished job is what it says."""
