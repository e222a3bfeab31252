"""Readers of spectrum files: CSV, ASD, SED/SIG, OPUS, SPC, JCAMP-DX, and LimeSoDa."""
