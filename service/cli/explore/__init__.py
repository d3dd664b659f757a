"""`mintage explore ...`."""
