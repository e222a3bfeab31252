"""The page of the daemon for a phone or a desk, and its answers for programs."""
