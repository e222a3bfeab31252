"""Predictions of the spectra in files: read, predicted in batches, written and drawn."""
