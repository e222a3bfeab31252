"""Published spectral libraries and own files -> soils on one grid."""
