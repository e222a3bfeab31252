"""The inference engines, behind one `Session` protocol."""
