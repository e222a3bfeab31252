"""Libraries of the user: files of spectra with the laboratory's values."""
