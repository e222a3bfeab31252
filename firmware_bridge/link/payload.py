"""How the fields of messages become bytes and back, without I/O.

`messages.py` says which fields each message has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, ClassVar, Protocol, Self

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.frozen import frozen

_UPDATE = "update the instrument's firmware or ccnvr"


class _Invalid(Exception):
    """The bytes end before the field does, or the field is longer than it may be."""


class Field(Protocol):
    """A part of a payload.

    Fields that are `later` may be missing, all of them together, and then have their defaults.
    """

    @property
    def name(self) -> str:
        """The name of the attribute in the dataclass."""
        ...

    @property
    def later(self) -> bool:
        """Whether the field may be missing."""
        ...

    def pack(self, value: Any) -> bytes:
        """Return the bytes of the field.

        Raises:
            ValueError: the value does not fit.
        """
        ...

    def unpack(self, data: bytes) -> tuple[Any, bytes]:
        """Return the value at the start of `data`, and the bytes behind it."""
        ...


@frozen
class Payload:
    """The payload of a message.

    A subclass is a frozen dataclass whose `LAYOUT` lists its fields in the order of the wire.
    """

    TITLE: ClassVar[str]
    LAYOUT: ClassVar[Sequence[Field]]
    EXTENSIBLE: ClassVar[bool] = False

    def pack(self) -> bytes:
        """Return the bytes of the payload.

        Raises:
            ValueError: a value does not fit its field.
        """
        return b"".join(field.pack(getattr(self, field.name)) for field in self.LAYOUT)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Return the values in `payload`.

        Raises:
            InstrumentError: the payload is malformed.
        """
        values, rest = {}, payload
        for field in cls.LAYOUT:
            # Only if nothing at all is left: a part of a later field is malformed.
            if field.later and not rest:
                break
            try:
                values[field.name], rest = field.unpack(rest)
            except _Invalid:
                raise InstrumentError(
                    f"{cls.TITLE} has {len(payload)} bytes, with no valid {field.name} in them; "
                    f"{_UPDATE}"
                ) from None
        if rest and not cls.EXTENSIBLE:
            raise InstrumentError(
                f"{cls.TITLE} has {len(payload)} bytes where the link protocol has "
                f"{len(payload) - len(rest)}; {_UPDATE}"
            )
        return cls(**values)


@frozen
class Number:
    """A little-endian number of type `code` of `struct`.

    `meaning` turns it into a member of an enumeration or of flags.
    """

    name: str
    code: str
    meaning: Callable[[int], Any] = int
    later: bool = False

    def pack(self, value: int) -> bytes:
        """See `Field`."""
        try:
            return struct.pack("<" + self.code, value)
        except struct.error as error:
            raise ValueError(f"{self.name} {value!r} does not fit the wire: {error}") from error

    def unpack(self, data: bytes) -> tuple[Any, bytes]:
        """See `Field`."""
        size = struct.calcsize(self.code)
        if len(data) < size:
            raise _Invalid
        (value,) = struct.unpack_from("<" + self.code, data)
        try:
            return self.meaning(value), data[size:]
        except ValueError:
            # Flags accept unknown bits, so only an enumeration refuses a value.
            assert isinstance(self.meaning, type) and issubclass(self.meaning, IntEnum)
            known = ", ".join(str(member.value) for member in self.meaning)
            raise InstrumentError(f"{self.name} {value} is not one of {known}; {_UPDATE}") from None


@frozen
class Bit:
    """A truth value in bit 0 of a byte; the other bits are ignored."""

    name: str
    later: bool = False

    def pack(self, value: bool) -> bytes:
        """See `Field`."""
        return bytes([bool(value)])

    def unpack(self, data: bytes) -> tuple[bool, bytes]:
        """See `Field`."""
        if not data:
            raise _Invalid
        return bool(data[0] & 1), data[1:]


@frozen
class Name:
    """UTF-8 behind a byte that counts its bytes, at most `most`.

    Unprintable characters are read as '?'.
    """

    name: str
    most: int
    later: bool = False

    def pack(self, value: str) -> bytes:
        """See `Field`."""
        encoded = value.encode()
        if len(encoded) > self.most:
            raise ValueError(f"{value!r} takes {len(encoded)} bytes; at most {self.most} fit")
        return bytes([len(encoded)]) + encoded

    def unpack(self, data: bytes) -> tuple[str, bytes]:
        """See `Field`."""
        length = data[0] if data else 0
        # The stated length is checked against what is there before it is used.
        if not data or length > self.most or len(data) < 1 + length:
            raise _Invalid
        return _printable(data[1 : 1 + length]), data[1 + length :]


@frozen
class Text:
    """UTF-8 to the end of the payload, cut to `most` bytes when sent.

    Unprintable characters are read as '?'.
    """

    name: str
    most: int
    later: bool = False

    def pack(self, value: str) -> bytes:
        """See `Field`."""
        # The cut may split a character, which is then left out.
        return value.encode()[: self.most].decode(errors="ignore").encode()

    def unpack(self, data: bytes) -> tuple[str, bytes]:
        """See `Field`."""
        return _printable(data), b""


@frozen
class Doubles:
    """IEEE 754 doubles to the end of the payload, at most `most`."""

    name: str
    most: int
    later: bool = False

    def pack(self, value: Sequence[float]) -> bytes:
        """See `Field`."""
        if len(value) > self.most:
            raise ValueError(f"{len(value)} {self.name} are more than {self.most}")
        return struct.pack(f"<{len(value)}d", *value)

    def unpack(self, data: bytes) -> tuple[tuple[float, ...], bytes]:
        """See `Field`."""
        count, odd = divmod(len(data), 8)
        if odd or count > self.most:
            raise _Invalid
        return struct.unpack(f"<{count}d", data), b""


@frozen
class Bytes:
    """1 to `most` bytes to the end of the payload."""

    name: str
    most: int
    later: bool = False

    def pack(self, value: bytes) -> bytes:
        """See `Field`."""
        if not 1 <= len(value) <= self.most:
            raise ValueError(f"{len(value)} bytes of {self.name} are not 1 to {self.most}")
        return value

    def unpack(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Field`."""
        if not 1 <= len(data) <= self.most:
            raise _Invalid
        return data, b""


def _printable(data: bytes) -> str:
    """Return text of an instrument, made safe for file names, topics and terminals."""
    return "".join(
        # Escape sequences in a name could otherwise control the user's terminal.
        character if character.isprintable() else "?"
        for character in data.decode(errors="replace")
    )
