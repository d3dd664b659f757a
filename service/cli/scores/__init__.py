"""`mintage score ...`."""
