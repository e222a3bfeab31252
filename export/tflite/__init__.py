"""The TFLite writer."""
