"""Spectra and values -> a calibration with intervals and domain."""
