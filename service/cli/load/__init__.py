"""The load generator behind `mintage bench`; the benchmark of serving drives other servers with it."""
