"""Tests of what is asked about the inside of networks."""
