"""The subcommands of the edge: each parses its options, calls the packages below, and prints."""
