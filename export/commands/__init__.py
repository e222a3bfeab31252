"""The subcommand that needs the export extra."""
