"""Where jobs write: local folders and object stores."""
