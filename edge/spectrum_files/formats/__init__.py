"""Readers of the files that spectrometers and their programs write."""
