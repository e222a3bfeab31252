"""The inference engines behind one `Backend` protocol."""
