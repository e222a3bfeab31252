"""Readers of tables of spectra: text in columns."""
