"""The daemon: reader thread, main loop, SQLite store, streams."""
