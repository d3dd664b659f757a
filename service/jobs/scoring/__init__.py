"""Adding up the shards of a score job: score, statistics, comparison, table, report."""
