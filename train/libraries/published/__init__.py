"""Readers of published spectral libraries, one module for each publisher."""
