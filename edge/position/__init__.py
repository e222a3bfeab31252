"""Where a scan is taken: positions from gpsd or from a receiver that speaks NMEA 0183."""
