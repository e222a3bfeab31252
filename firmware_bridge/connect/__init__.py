"""From a URL to an open instrument; what is plugged in."""
