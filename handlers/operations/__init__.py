"""What models of each kind do."""
