"""Training recipes: their settings, and their TOML files. Nothing here needs torch."""
