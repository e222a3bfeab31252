"""Builds CCNVR: spectral libraries, the network, training, cross-validation."""
