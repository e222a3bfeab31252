"""Quantization of a finished run's network to int8."""
