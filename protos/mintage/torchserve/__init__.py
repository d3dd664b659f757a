"""Generated code of the part of TorchServe's own gRPC interface that we call."""
