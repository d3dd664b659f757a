"""Generated code of the public contract, version 1. See the .proto files beside it."""
