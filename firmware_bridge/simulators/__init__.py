"""One simulated instrument for each driver, under the same name."""
