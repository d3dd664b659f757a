"""How the shards of a job are laid out: one file per format, each with its writer and its reader."""
