"""JobService."""
