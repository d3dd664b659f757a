"""Real kills of real processes: nothing is lost, nothing is doubled, nothing is left."""
