"""The processes that `mintage serve` starts, one file each."""
