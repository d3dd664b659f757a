"""The formats that sources have, one module per format, and what they share."""
