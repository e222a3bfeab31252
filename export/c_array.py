"""A TFLite model as C source, for firmware that runs TFLite Micro itself.

The header states what the firmware's author must know: the input and its preprocessing, the outputs
and their units, the operators, and the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ccnvr.edge.atomic_files import make_folder, write_atomically
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.engines.tflite_interpreter import silenced_stderr
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.export.tflite.writer import to_tflite
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import UsageError

HEADER, SOURCE = "ccnvr_model.h", "ccnvr_model.c"

_BYTES_A_LINE = 24
# Far more than a microcontroller has, so that the search for the arena starts from one that works.
_LARGEST_ARENA = 64 << 20
# A finer search would be false precision: a microcontroller's pointers and kernels need other
# amounts.
_ARENA_STEP = 1024


@dataclass(frozen=True)
class MicroModel:
    """A model for TFLite Micro.

    Attributes:
        content: the TFLite file.
        operators: the names of the builtin operators in it, sorted.
        arena: the memory in bytes that TFLite Micro needs for it on this computer, None where
            TFLite Micro is not installed.
    """

    content: bytes
    operators: tuple[str, ...]
    arena: int | None


def micro_model(network: NetworkArrays) -> MicroModel:
    """Return the network for TFLite Micro, with the arena measured if that is installed.

    Raises:
        UsageError: the model has kernel members.
    """
    check_has_no_members(network.config)
    content = to_tflite(network, micro=True)
    # Read back from the file instead of noted while writing, so that the list cannot be incomplete.
    codes = {code.builtinCode for code in schema.ModelT.InitFromPackedBuf(content, 0).operatorCodes}
    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if isinstance(value, int)
    }
    arena = _smallest_arena(content) if is_installed() else None
    return MicroModel(content, tuple(sorted(names[code] for code in codes)), arena)


def check_has_no_members(config: NetworkConfig) -> None:
    """Check that a model can be written as C source.

    Raises:
        UsageError: it has kernel members, whose soils are too many numbers for a microcontroller.
    """
    if config.kernels:
        soils = sum(kernel.soils for kernel in config.kernels)
        raise UsageError(
            f"--c-array cannot write a model with kernel members, as this one has ({soils} soils "
            "in float32); export a run whose model is a network alone, or leave --c-array out"
        )


def is_installed() -> bool:
    """Return whether TFLite Micro's Python interpreter is installed."""
    return find_spec("tflite_micro") is not None


class MicroSession:
    """A model on TFLite Micro's interpreter; see `registry.Session`."""

    name = "TFLite Micro"

    def __init__(self, model: bytes, arena: int = _LARGEST_ARENA) -> None:
        self._interpreter = _interpreter(model, arena)

    def __call__(self, inputs: Float32) -> Float32:
        """Return the outputs `(n, targets)` for model inputs `(n, channels, bands)`."""
        outputs = []
        # The model takes one spectrum at a time.
        for row in range(len(inputs)):
            self._interpreter.set_input(inputs[row : row + 1], 0)
            self._interpreter.invoke()
            # Copied, because the interpreter writes the next output to the same memory.
            outputs.append(np.array(self._interpreter.get_output(0)))
        return np.concatenate(outputs)


def _interpreter(model: bytes, arena: int) -> Any:
    from tflite_micro.python.tflite_micro import runtime

    # TFLite Micro writes each refusal to standard error, and the search below provokes many.
    with silenced_stderr():
        return runtime.Interpreter.from_bytes(model, arena_size=arena)


def _smallest_arena(model: bytes) -> int:
    """Return the least arena in bytes with which TFLite Micro takes the model, by bisection."""
    fails, works = 0, _LARGEST_ARENA // _ARENA_STEP
    while works - fails > 1:
        middle = (fails + works) // 2
        try:
            _interpreter(model, middle * _ARENA_STEP)
            works = middle
        # All that the interpreter says of an arena that is too small.
        except RuntimeError:
            fails = middle
    return works * _ARENA_STEP


def write_c_array(
    folder: Path,
    model: MicroModel,
    preprocessing: Preprocessing,
    targets: tuple[Target, ...],
    *,
    corrected: bool = False,
) -> None:
    """Write the model's C source and header into a folder, both or neither.

    Args:
        folder: where to; it is made if it does not exist.
        model: what to write.
        preprocessing: how the model's input is made of absorbance.
        targets: the model's outputs.
        corrected: whether the absorbance goes through the bundle's correction first.

    Raises:
        CcnvrError: the folder cannot be made or written to.
    """
    make_folder(folder, "folder")
    # One block for both: an error in the second keeps the first from being renamed.
    with write_atomically(folder / SOURCE) as source, write_atomically(folder / HEADER) as header:
        source.write(_source(model.content).encode())
        header.write(_header(model, preprocessing, targets, corrected).encode())


def _header(
    model: MicroModel, preprocessing: Preprocessing, targets: tuple[Target, ...], corrected: bool
) -> str:
    arena = (
        "/* The tensor arena was not measured: TFLite Micro was not installed where this was "
        "written. */"
        if model.arena is None
        else "/* Measured with TFLite Micro on a 64-bit computer; a microcontroller's shorter "
        "pointers need no more. */\n"
        f"#define CCNVR_MODEL_ARENA_BYTES {model.arena}"
    )
    adds = " \\\n".join(f"    (resolver).{_method(name)}();" for name in model.operators)
    return f"""/* A CCNVR for TFLite Micro, profile int8; written by ccnvr export.
 *
{_input_and_output(preprocessing, targets, corrected)}
 */
#ifndef CCNVR_MODEL_H
#define CCNVR_MODEL_H

#ifdef __cplusplus
extern "C" {{
#endif

extern const unsigned char ccnvr_model[];
extern const unsigned int ccnvr_model_bytes;

#ifdef __cplusplus
}}
#endif

{arena}

/* For a tflite::MicroMutableOpResolver<CCNVR_MODEL_OPERATORS>. */
#define CCNVR_MODEL_OPERATORS {len(model.operators)}
#define CCNVR_MODEL_ADD_OPERATORS(resolver) \\
{adds}

#endif
"""


def _input_and_output(
    preprocessing: Preprocessing, targets: tuple[Target, ...], corrected: bool
) -> str:
    grid, channels = preprocessing.grid, preprocessing.channels
    bands = f"{grid.bands} bands, {grid.start_nm:g} to {grid.stop_nm:g} nm by {grid.step_nm:g} nm"
    if grid.wavelengths_nm:
        bands = f"the bands at {', '.join(f'{nm:g}' for nm in grid.wavelengths_nm)} nm"
    if grid.gaps:
        missing = " and ".join(f"{first:g} to {last:g} nm" for first, last in grid.gaps)
        bands += f" without {missing}, which no filter crosses"
    correction = ", after the bundle's correction" if corrected else ""
    lines = [
        f"Input, float32 [1][{len(channels)}][{grid.bands}]: {bands}, in channels of",
        *(f"  {number}: {_filters(channel)}" for number, channel in enumerate(channels)),
        f"where absorbance is log10(1/reflectance){correction}.",
        f"Output, float32 [1][{len(targets)}]: z of",
        *(
            f"  {number}: {target.name} in {target.unit}, {_formula(target)}"
            for number, target in enumerate(targets)
        ),
    ]
    return "\n".join(f" * {line}" for line in lines)


def _filters(channel: Channel) -> str:
    """Return the filters of a channel in words, in the order of `Preprocessor`."""
    filters = []
    if channel.window > 1:
        derivative = f", derivative {channel.deriv} per nm" if channel.deriv else ""
        filters.append(
            f"Savitzky-Golay of {channel.window} bands, order {channel.polyorder}{derivative}"
        )
    if channel.snv:
        filters.append("SNV")
    return ", ".join(["absorbance", *filters])


def _formula(target: Target) -> str:
    """Return the formula of `Target.restore` in words."""
    # Nine digits are enough to restore any float32.
    linear = f"{target.mean:.9g} + {target.sd:.9g} * z"
    value = f"exp({linear}) - 1" if target.transform == "log1p" else linear
    return f"{value}, and not below 0" if target.lowest >= 0.0 else value


def _method(operator: str) -> str:
    """Return the resolver's method for an operator: `AddMaxPool2D` for `MAX_POOL_2D`."""
    return "Add" + "".join(
        word if word[0].isdigit() else word.capitalize() for word in operator.split("_")
    )


def _source(content: bytes) -> str:
    lines = [
        "    " + ", ".join(f"{byte}" for byte in content[start : start + _BYTES_A_LINE]) + ","
        for start in range(0, len(content), _BYTES_A_LINE)
    ]
    body = "\n".join(lines)
    return f"""#include "{HEADER}"

/* TFLite Micro loads constants as vectors, so they must be aligned. */
#if defined(__cplusplus)
#define CCNVR_ALIGNED alignas(16)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define CCNVR_ALIGNED _Alignas(16)
#else
#define CCNVR_ALIGNED __attribute__((aligned(16)))
#endif

const unsigned int ccnvr_model_bytes = {len(content)};

CCNVR_ALIGNED const unsigned char ccnvr_model[] = {{
{body}
}};
"""
