"""link.toml -> Python, C99, golden vectors, tables."""
