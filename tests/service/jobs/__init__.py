"""The job engine, part by part, against a real Valkey and a real file system."""
