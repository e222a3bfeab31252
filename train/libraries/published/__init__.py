"""Readers of published spectral libraries."""
