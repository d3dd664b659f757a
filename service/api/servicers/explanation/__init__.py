"""ExplanationService."""
