"""A training run: its folder, the training itself, and fine-tuning of what it made."""
