"""From a URL to an open instrument, and which instruments are plugged in."""
