"""Published spectral libraries and files of the user's own, read as soils on one grid."""
