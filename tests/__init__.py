"""What the product promises, in sentences. The tree mirrors the source; e2e/ starts real processes."""
