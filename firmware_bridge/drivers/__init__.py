"""One module for each instrument."""
