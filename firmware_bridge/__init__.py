"""Speaks with a spectrometer's firmware: the link protocol, drivers and simulators. Knows nothing
of soil or models.
"""
