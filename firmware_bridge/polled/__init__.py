"""The common parts of drivers for instruments that only answer, and their frames."""
