"""The service over gRPC, one file per service."""
