"""A bundle on an engine, bound to an instrument: spectrum -> estimates and flags."""
