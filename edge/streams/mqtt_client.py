"""The MQTT client of a stream, paho's, with its login, its encryption and its bounds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ccnvr.edge.streams.settings import MqttConfig
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

_LOG = logging.getLogger(__name__)

MOST_PASSWORD_BYTES = 4096

MOST_PACKET_BYTES = 65_536
"""The most bytes of a packet from the broker, which has little to say; MQTT allows 256 MB."""

KEEP_ALIVE_S = 60


def new_client(config: MqttConfig) -> Any:
    """Return a client that has no broker yet.

    Raises:
        UsageError: the password's or the authority's file cannot be used.
    """
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    class Bounded(paho.Client):
        """A client that breaks a connection off over a packet that is too long."""

        def _sock_recv(self, bufsize: int) -> bytes:
            # The first call for a packet's content asks for the whole content.
            if bufsize > MOST_PACKET_BYTES:
                raise ConnectionError(f"a packet of {bufsize} bytes was announced")
            return bytes(super()._sock_recv(bufsize))

    client = Bounded(
        CallbackAPIVersion.VERSION2,
        client_id=f"ccnvr-{config.device_id}",
        protocol=paho.MQTTv5,
    )
    if config.username:
        client.username_pw_set(config.username, _password(config))
    if config.password_in_clear:
        _LOG.warning(
            "the password for the MQTT broker %s travels without encryption; set tls = true in "
            "[mqtt] if the broker can do it",
            config.host,
        )
    if config.tls:
        try:
            client.tls_set(ca_certs=config.ca_file or None)
        except OSError as error:
            raise UsageError(
                f"ca_file {config.ca_file} cannot be used ({error}); give a certificate "
                "authority's file in PEM"
            ) from error
    return client


def connect(client: Any, config: MqttConfig) -> None:
    """Name the broker to a client, which connects to it once its loop runs."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    # A broker that follows the protocol then sends no longer packets.
    limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    limits.MaximumPacketSize = MOST_PACKET_BYTES
    client.connect_async(config.host, config.broker_port, KEEP_ALIVE_S, properties=limits)


def _password(config: MqttConfig) -> str | None:
    if not config.password_file:
        return None
    try:
        with Path(config.password_file).open("rb") as stream:
            content = stream.read(MOST_PASSWORD_BYTES + 1)
        if len(content) > MOST_PASSWORD_BYTES:
            raise CcnvrError(f"is longer than {MOST_PASSWORD_BYTES} bytes")
        return content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError, CcnvrError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"password_file {config.password_file} cannot be used ({reason}); give a file that "
            "holds the password alone"
        ) from error
