"""Subcommands that run the daemon, and that read what it has stored."""
