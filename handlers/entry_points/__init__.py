"""The handler files that TorchServe imports, one class each."""
