"""NeuronService."""
