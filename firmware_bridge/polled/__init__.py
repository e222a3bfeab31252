"""What drivers of instruments that only answer share."""
