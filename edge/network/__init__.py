"""A trained network as arrays: its shape, its layers, its file."""
