"""Calibrations: networks fitted to soils, with prediction intervals and a domain."""
