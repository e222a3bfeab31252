"""The generators that turn link.toml into Python, C99, golden vectors and tables."""
