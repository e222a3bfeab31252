"""The quality of scans and references: every check in one place, its prompt, and the verdict."""
