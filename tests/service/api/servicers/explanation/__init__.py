"""Tests of ExplanationService."""
