"""What LiteRT and tflite-runtime share: the interpreter of TFLite models, whichever package brings
it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ccnvr.edge.engines.registry import EngineError
from ccnvr.firmware_bridge.arrays import Float32


class TfliteInterpreter:
    """A TFLite model of one float32 input `(1, channels, bands)` and one output `(1, targets)`;
    spectra go through one by one.

    Raises:
        EngineError: the interpreter refuses the model.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        try:
            with quiet():
                self.interpreter = make()
                self.interpreter.allocate_tensors()
            (self._input,) = self.interpreter.get_input_details()
            (self._output,) = self.interpreter.get_output_details()
        except (
            Exception
        ) as error:  # the interpreters raise ValueError, RuntimeError, SystemError and more
            raise EngineError(error) from error

    def __call__(self, inputs: Float32) -> Float32:
        """See `Session`.

        Raises:
            EngineError: it fails on one of them.
        """
        return np.concatenate([self._one(inputs[row : row + 1]) for row in range(len(inputs))])

    def _one(self, spectrum: Float32) -> Float32:
        try:
            self.interpreter.set_tensor(self._input["index"], spectrum)
            self.interpreter.invoke()
            outputs: Float32 = self.interpreter.get_tensor(self._output["index"])
        except Exception as error:  # see above
            raise EngineError(error) from error
        return outputs


@contextmanager
def quiet() -> Iterator[None]:
    """The interpreters tell standard error, from C++ and with no switch, that they made their
    delegate.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed: nobody reads it anyway
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
