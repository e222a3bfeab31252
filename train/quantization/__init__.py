"""A finished run -> its int8 networks."""
