"""The store as the daemon uses it: scans with their predictions, references, jobs, and cursors.

The SQLite file below it, its schema and its repair are `ccnvr.edge.storage`.
"""
