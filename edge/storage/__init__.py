"""The SQLite file of a store: its schema, its errors, its lock, and what is saved of a damaged one.

Nothing here knows of scans' meaning; `ccnvr.edge.store` does.
"""
