"""What a score job makes of its shards."""
