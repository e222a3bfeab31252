"""The scans of a store, read again: their spectra, exported or predicted by another bundle."""
