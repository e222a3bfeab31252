"""The parts of `ccnvr demo`: real soils, a simulated instrument, and reports of the results."""
