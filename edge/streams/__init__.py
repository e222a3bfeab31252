"""Streams of predictions to other programs: MQTT, Home Assistant, QField, short records."""
