"""One driver for each kind of instrument that speaks a protocol of its own."""
