"""The writer of networks as ONNX models."""
