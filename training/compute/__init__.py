"""Devices, precision, and several processes."""
