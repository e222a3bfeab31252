"""The measuring workflow: jobs, their control from outside, replicates, check sample, position."""
