"""Inference: a bundle opened on an engine and bound to an instrument, and its predictions."""
