"""A trained network as arrays: its configuration, layout, layers and file."""
