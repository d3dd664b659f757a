"""Tests of what runs inside TorchServe, without TorchServe."""
