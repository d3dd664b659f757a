"""How a job is accepted."""
