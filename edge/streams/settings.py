"""The configuration of the streams: the tables `[mqtt]` and `[lines]` of the daemon's file."""

from __future__ import annotations

import importlib
import re
import socket
from ipaddress import ip_address

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BASE = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}")


def check_installed(table: str, package: str, module: str) -> None:
    """Check that the package is installed which a table of the configuration needs.

    Raises:
        UsageError: it is not.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        from ccnvr.firmware_bridge.installation import extra_command  # only for this message

        raise UsageError(
            f"[{table}] needs the package {package}; take the table out of the configuration, or "
            f"run: {extra_command(table)}"
        ) from error


def check_address(host: str) -> None:
    """Check that a host to listen on is an address.

    Raises:
        ValueError: it is not an address.
    """
    try:
        ip_address(host)
    except ValueError as error:
        raise ValueError(
            f"host = {host!r} is not an address; give 127.0.0.1 for this computer alone or 0.0.0.0 "
            "for the network"
        ) from error


def check_port(name: str, port: int) -> None:
    """Check that a number is a port.

    Raises:
        ValueError: it is not a port.
    """
    if not 1 <= port <= 65_535:
        raise ValueError(f"{name} = {port} is not a port; ports are 1 to 65535")


def is_loopback(host: str) -> bool:
    """Return whether a host names this computer alone; a name but `localhost` does not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(table: str, host: str, port: int) -> socket.socket:
    """Open a port that a table of the configuration names.

    Raises:
        CcnvrError: it cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise CcnvrError(
            f"port {port} of {host} cannot be opened ({error.strerror}); see who uses it, or give "
            f"another [{table}] port"
        ) from error


@frozen
class MqttConfig:
    """The MQTT broker that predictions are published to; no `host` publishes nothing.

    Messages go to `topic/device/prediction`. An empty `device` stands for the computer's name.
    `password_file` holds the password alone. `ca_file` is a certificate authority's, for a broker
    that the system does not trust. The broker keeps an undelivered message for `expiry_s`.
    """

    host: str = ""
    port: int = 0
    """0 stands for 8883 with TLS and 1883 without."""

    tls: bool = False
    ca_file: str = ""
    username: str = ""
    password_file: str = ""
    topic: str = "ccnvr"
    device: str = ""
    expiry_s: int = 30 * 86_400
    home_assistant: bool = True
    discovery_topic: str = "homeassistant"

    def __post_init__(self) -> None:
        if self.port:
            check_port("port", self.port)
        for name, value in (("topic", self.topic), ("discovery_topic", self.discovery_topic)):
            # A "+" or "#" would be a pattern, and "$" begins the broker's own topics.
            if not _BASE.fullmatch(value):
                raise ValueError(
                    f"{name} = {value!r} is not a topic; give words of letters, digits, - and _, "
                    "with / between them"
                )
        if self.device and not _WORD.fullmatch(self.device):
            raise ValueError(
                f"device = {self.device!r} is not a word of up to 64 letters, digits, - and _"
            )
        if not 60 <= self.expiry_s < 2**32:
            raise ValueError(f"expiry_s = {self.expiry_s} is outside 60 to {2**32 - 1}")
        # Refused and not ignored: whoever gives one believes the connection to be safe.
        if self.ca_file and not self.tls:
            raise ValueError("ca_file is given without tls = true, which would leave it unused")
        if self.password_file and not self.username:
            raise ValueError("password_file is given without a username")

    @property
    def device_id(self) -> str:
        """The device's name in topics."""
        # A host's name may hold dots, which are harmless, or come from a foreign DHCP server.
        return self.device or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "ccnvr"

    @property
    def broker_port(self) -> int:
        """The broker's port."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def password_in_clear(self) -> bool:
        """Whether the password travels over a network without encryption."""
        return bool(self.password_file) and not self.tls and not is_loopback(self.host)

    @property
    def base(self) -> str:
        """The topic that all topics of this device begin with."""
        return f"{self.topic}/{self.device_id}"


@frozen
class LinesConfig:
    """The TCP port that gives one line of text for each prediction; `port = 0` opens none.

    QField and QGIS read it as a sensor. `properties` are those of a line, in this order; none
    stands for all of the model's. A `host` beyond loopback lets everyone on the network read.
    """

    port: int = 0
    host: str = "127.0.0.1"
    properties: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.port:
            check_port("port", self.port)
        check_address(self.host)
