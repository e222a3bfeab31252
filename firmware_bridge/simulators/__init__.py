"""One simulated instrument for each driver."""
