"""The instrument's end of a line: ports, faults, recordings and their replay."""
