"""How the shards of a job are laid out: one file a format, each with its writer and its reader."""
