"""The typed recipe of a training."""
