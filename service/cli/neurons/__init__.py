"""`mintage neurons ...`."""
