"""The subcommands that need the train extra."""
