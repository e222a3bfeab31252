"""Checks of what the configuration sends records to: the broker and the page."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.doctor.findings import Finding
from ccnvr.edge.streams.page_settings import WebConfig
from ccnvr.edge.streams.settings import MqttConfig, check_installed
from ccnvr.firmware_bridge.errors import CcnvrError

PATIENCE_S = 3.0


def examine_streams(config: Config) -> Iterator[Finding]:
    """Yield the findings about MQTT and the page, if they are configured."""
    if config.mqtt.host:
        yield from _of_broker(config.mqtt)
    if config.web.port:
        yield _of_page(config.web)


def _of_broker(mqtt: MqttConfig) -> Iterator[Finding]:
    try:
        check_installed("mqtt", "paho-mqtt", "paho.mqtt.client")
    except CcnvrError as error:
        yield Finding(False, str(error))
        return
    named = f"the MQTT broker {mqtt.host} port {mqtt.broker_port}"
    try:
        socket.create_connection((mqtt.host, mqtt.broker_port), PATIENCE_S).close()
        yield Finding(True, f"{named} can be reached")
    except OSError as error:
        # The daemon works without it, so this is no fault.
        text = f"{named} cannot be reached ({error.strerror or error}); predictions will wait"
        yield Finding(True, text, note=True)
    if mqtt.password_in_clear:
        text = "its password travels without encryption; set tls = true if the broker can do it"
        yield Finding(True, text, note=True)


def _of_page(web: WebConfig) -> Finding:
    try:
        check_installed("web", "uvicorn", "uvicorn")
        web.token()
    except CcnvrError as error:
        return Finding(False, str(error))
    return Finding(True, f"the page can be served at {web.host} port {web.port}")
