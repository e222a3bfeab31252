"""Turns a training run into a bundle: ONNX, parity gate, manifest."""
