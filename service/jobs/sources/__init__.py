"""Where the images of a score job come from, one file per kind; `choice` knows which."""
