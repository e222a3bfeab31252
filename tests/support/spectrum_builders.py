"""Instruments' files made byte by byte from the descriptions of their formats. None is a real
instrument's.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def asd(
    first_nm: float,
    step_nm: float,
    reflectance: Array,
    *,
    version: bytes = b"as7",
    kind: int = 1,
    dtype: str = "<f8",
) -> bytes:
    """A white reference of 40,000 counts at most and the target's counts."""
    white = np.linspace(20_000.0, 40_000.0, reflectance.size)
    header = bytearray(484)
    header[:3] = version
    struct.pack_into("<B", header, 186, kind)
    number_format = {"<f4": 0, "<i4": 1, "<f8": 2}[dtype]
    struct.pack_into("<ffB", header, 191, first_nm, step_nm, number_format)
    struct.pack_into("<H", header, 204, reflectance.size)
    if version == b"ASD":
        return bytes(header) + reflectance.astype(dtype).tobytes()
    comment = b"white panel"
    reference = (
        struct.pack("<Hdd", 0xFFFF, 45_000.0, 45_000.1) + struct.pack("<H", len(comment)) + comment
    )
    target = (white * reflectance).astype(dtype).tobytes()
    return bytes(header) + target + reference + white.astype(dtype).tobytes()


def sed(wavelengths_nm: Array, reflectance: Array, column: str = "Reflect. %") -> bytes:
    scale = 100.0 if column == "Reflect. %" else 1.0
    head = [
        "Comment: ",
        "Version: 2.3 [1.2.6947C]",
        "Instrument: PSR+3500_SN1 [3]",
        "Measurement: REFLECTANCE",
        f"Channels: {reflectance.size}",
        "Columns [3]:",
        "Data:",
        f"Wvl\tRad. (Target)\t{column}",
    ]
    rows = [
        f" {nm:.1f}\t1.0e-002\t{scale * value:.8f}"
        for nm, value in zip(wavelengths_nm.tolist(), reflectance.tolist(), strict=True)
    ]
    return "\r\n".join([*head, *rows, ""]).encode()


def sed_of_radiance(wavelengths_nm: Array, reflectance: Array) -> bytes:
    """A file with the radiance of a reference and of the target, and no reflectance."""
    text = sed(wavelengths_nm, reflectance, "Reflect. [1.0]").decode()
    head, body = text.split("Data:\r\n")
    lines = body.splitlines()[1:]
    cells = [line.split("\t") for line in lines if line]
    rows = [f"{nm}\t0.5\t{0.5 * float(value):.9f}" for nm, _, value in cells]
    return "\r\n".join([f"{head}Data:", "Wvl\tRad. (Ref.)\tRad. (Target)", *rows, ""]).encode()


def sig(wavelengths_nm: Array, reflectance: Array) -> bytes:
    head = [
        "/*** Spectra Vista SIG Data ***/",
        "name= soil.sig",
        "units= Radiance, Radiance",
        "data= ",
    ]
    rows = [
        f"{nm:.1f}  1000.00  {1000.0 * value:.2f}  {100.0 * value:.6f}"
        for nm, value in zip(wavelengths_nm.tolist(), reflectance.tolist(), strict=True)
    ]
    return "\n".join([*head, *rows, ""]).encode()


def spc(
    first: float,
    last: float,
    spectra: list[Array],
    *,
    axis_type: int = 3,
    value_type: int = 129,
    exponent: int = -128,
    flags: int = 0,
    axis: Array | None = None,
) -> bytes:
    """Evenly spaced, with one axis for all (flag 0x80), or with each its own (0xC0)."""
    if len(spectra) > 1:
        flags |= 0x04
    header = bytearray(512)
    points = spectra[0].size
    struct.pack_into(
        "<BBBbiddi", header, 0, flags, 0x4B, 0, exponent, points, first, last, len(spectra)
    )
    struct.pack_into("<BB", header, 28, axis_type, value_type)
    shared = axis.astype("<f4").tobytes() if axis is not None and not flags & 0x40 else b""
    out = bytes(header) + shared
    for number, values in enumerate(spectra):
        out += struct.pack("<BbHfffIIf4x", 0, exponent, number, 0.0, 0.0, 0.0, values.size, 0, 0.0)
        if flags & 0x40:
            assert axis is not None
            out += axis.astype("<f4").tobytes()
        if exponent == -128:
            out += values.astype("<f4").tobytes()
        else:
            bits = 16 if flags & 0x01 else 32
            out += np.rint(values * 2.0 ** (bits - exponent)).astype(f"<i{bits // 8}").tobytes()
    return out


def opus(
    first: float,
    last: float,
    values: Array,
    *,
    content: int = 4,
    unit: str = "WN",
    scale: float = 1.0,
    kind: int | None = None,
) -> bytes:
    """One spectrum: its values, their parameters, and a block of a sample's name."""
    kind = 0b1111 | content << 10 if kind is None else kind
    return opus_of(first, last, [values], unit=unit, scale=scale, kind=kind)


def opus_of(
    first: float,
    last: float,
    spectra: list[Array],
    *,
    unit: str = "WN",
    scale: float = 1.0,
    kind: int = 0b1111 | 4 << 10,
) -> bytes:
    """Several spectra of one kind, as OPUS leaves them after each step of processing."""

    def parameter(name: str, value: float | str) -> bytes:
        if isinstance(value, int):
            of_kind, data = 0, struct.pack("<i", value)
        elif isinstance(value, float):
            of_kind, data = 1, struct.pack("<d", value)
        else:
            of_kind, data = 2, value.encode() + b"\0" * (2 - len(value) % 2)
        return name.encode() + b"\0" + struct.pack("<hh", of_kind, len(data) // 2) + data

    def block(*parameters: bytes) -> bytes:
        body = b"".join(parameters) + b"END\0\0\0\0\0"
        return body + b"\0" * (-len(body) % 4)

    blocks = [(10 << 4, block(parameter("SNM", "a soil")))]
    for values in spectra:
        status = block(
            parameter("DPF", 1),
            parameter("NPT", int(values.size)),
            parameter("FXV", float(first)),
            parameter("LXV", float(last)),
            parameter("CSF", scale),
            parameter("DXU", unit),
        )
        blocks += [(kind, (values / scale).astype("<f4").tobytes()), (kind | 1 << 4, status)]
    directory_at, place = 24, 24 + 12 * (len(blocks) + 1)
    entries = struct.pack("<Iii", 13 << 10, 3 * (len(blocks) + 1), directory_at)
    body = b""
    for block_kind, content_bytes in blocks:
        entries += struct.pack("<Iii", block_kind, len(content_bytes) // 4, place + len(body))
        body += content_bytes
    return (
        b"\n\n\xfe\xfe"
        + struct.pack("<diii", 920622.0, directory_at, 40, len(blocks) + 1)
        + entries
        + body
    )


def jcamp(
    first: float,
    last: float,
    values: Array,
    *,
    form: str = "affn",
    x_units: str = "NANOMETERS",
    y_units: str = "REFLECTANCE",
) -> bytes:
    """Forms: affn, pac, sqz, dif, difdup, pairs."""
    points, factor = values.size, 1e-6
    axis = np.linspace(first, last, points)
    numbers = np.rint(values / factor).astype(int).tolist()
    head = [
        "##TITLE= a soil $$ made by a test",
        "##JCAMP-DX= 4.24",
        "##DATA TYPE= INFRARED SPECTRUM",
        f"##XUNITS= {x_units}",
        f"##YUNITS= {y_units}",
        f"##FIRSTX= {first!r}",
        f"##LASTX= {last!r}",
        "##XFACTOR= 1.0",
        f"##YFACTOR= {factor!r}",
        f"##NPOINTS= {points}",
    ]
    if form == "pairs":
        pairs = [f"{x:.6f}, {y}" for x, y in zip(axis.tolist(), numbers, strict=True)]
        rows = [
            "##XYPOINTS= (XY..XY)",
            *("; ".join(pairs[at : at + 3]) for at in range(0, points, 3)),
        ]
    else:
        rows = ["##XYDATA= (X++(Y..Y))"]
        for at in range(0, points, 8):
            chunk = numbers[at : at + 8]
            if form in ("dif", "difdup") and at:
                chunk = [numbers[at - 1], *chunk]
                rows.append(f"{axis[at - 1]:.3f}" + _asdf(chunk, form))
            else:
                rows.append(f"{axis[at]:.3f}" + _asdf(chunk, form))
        if form in ("dif", "difdup"):
            rows.append(f"{axis[-1]:.3f}" + _squeezed(numbers[-1], "ihgfedcba@ABCDEFGHI"))
    return "\r\n".join([*head, *rows, "##END=", ""]).encode()


def _asdf(values: list[int], form: str) -> str:
    if form == "affn":
        return "".join(f" {value}" for value in values)
    if form == "pac":
        return "".join(f"{value:+d}" for value in values)
    if form == "sqz":
        return "".join(_squeezed(value, "ihgfedcba@ABCDEFGHI") for value in values)
    out, repeats, last = _squeezed(values[0], "ihgfedcba@ABCDEFGHI"), 1, None
    for before, value in pairwise(values):
        step = value - before
        if form == "difdup" and step == last:
            repeats += 1
            continue
        out += _repeat(repeats) + _squeezed(step, "rqponmlkj%JKLMNOPQR")
        repeats, last = 1, step
    return out + _repeat(repeats)


def _repeat(times: int) -> str:
    return "" if times == 1 else "STUVWXYZs"[int(str(times)[0]) - 1] + str(times)[1:]


def _squeezed(value: int, digits: str) -> str:
    text = str(abs(value))
    return digits[9 + int(text[0]) * (1 if value >= 0 else -1)] + text[1:]
