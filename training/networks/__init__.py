"""The networks, one file per paper; `training.families` builds those of a run."""
