"""Chemometrics in NumPy: preprocessing, corrections, domain, noise, targets, figures of merit."""
