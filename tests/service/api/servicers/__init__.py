"""The service over gRPC, one file a service."""
