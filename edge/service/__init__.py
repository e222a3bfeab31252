"""What makes the daemon a service: signals, the watchdog, systemd's protocol.

Nothing here knows of instruments or scans.
"""
