"""What the drivers of instruments that only answer have in common, and their frames."""
