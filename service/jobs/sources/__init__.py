"""Where the images of a score job come from, one file a kind; `choice` knows which."""
