"""Shards of a job's output and their markers."""
