"""The tree mirrors training/."""
