"""Asking loaded models: who may, in which calls, and what comes back."""
