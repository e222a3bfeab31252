"""A writer of TFLite models."""
