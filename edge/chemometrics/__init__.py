"""Spectra as numbers: grid, preprocessing, corrections, domain, noise, targets and figures of
merit. NumPy alone.
"""
