"""Whole trainings and fine-tunings, each kept in a folder of its own."""
