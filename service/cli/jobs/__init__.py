"""`mintage jobs ...`."""
