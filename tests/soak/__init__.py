"""A soak: many clients, random kills, everything written down, and the story checked afterwards."""
