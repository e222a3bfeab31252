"""The interpreter of TFLite model files, which LiteRT and tflite-runtime both provide."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ccnvr.edge.engines.registry import EngineError
from ccnvr.firmware_bridge.arrays import Float32


class TfliteInterpreter:
    """A TFLite model with one float32 input `(1, channels, bands)` and one output `(1, targets)`.

    The batch size is fixed in the file, so spectra run one by one.

    Args:
        make: creates the interpreter of the library.

    Raises:
        EngineError: the interpreter refuses the model.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        try:
            with silenced_stderr():
                self.interpreter = make()
                self.interpreter.allocate_tensors()
            (self._input,) = self.interpreter.get_input_details()
            (self._output,) = self.interpreter.get_output_details()
        # The interpreters raise ValueError, RuntimeError, SystemError and more.
        except Exception as error:
            raise EngineError(error) from error

    def __call__(self, inputs: Float32) -> Float32:
        """Run the network, see `Session`.

        Raises:
            EngineError: the interpreter fails on a spectrum.
        """
        return np.concatenate([self._one(inputs[row : row + 1]) for row in range(len(inputs))])

    def _one(self, spectrum: Float32) -> Float32:
        try:
            # This copies, so that the caller may change its array; get_tensor copies as well.
            self.interpreter.set_tensor(self._input["index"], spectrum)
            self.interpreter.invoke()
            outputs: Float32 = self.interpreter.get_tensor(self._output["index"])
        except Exception as error:  # as above
            raise EngineError(error) from error
        return outputs


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard what is written to standard error while the block runs.

    The interpreters report from C++ that they have created their delegate, and no option turns that
    off, so the file descriptor itself is redirected.
    """
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed, so there is nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
