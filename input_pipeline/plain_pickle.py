"""Reads pickles of plain values and numeric arrays, and runs nothing that they name.

A pickle is a program. Here it may name only what NumPy's arrays are pickled with, and even those
names are bound to the stand-ins below: what arrives at NumPy is a checked dtype, a shape and bytes.
"""

import pathlib
import pickle
import re

import numpy as np

from input_pipeline.decoding import DataError


def read(path: pathlib.Path) -> dict:
    """The dict that a pickle of Python 2 or 3 holds, arrays among its values, keys as text.

    Raises:
      DataError: a damaged file, anything but plain values and arrays, or no dict.
    """
    try:
        with open(path, "rb") as file:
            values = _PlainUnpickler(file, encoding="latin1").load()
        if not isinstance(values, dict):
            raise pickle.UnpicklingError(f"it holds a {type(values).__name__}, not a dict")
        return {_text(k): v.array if isinstance(v, _Array) else v for k, v in values.items()}
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(
            f"{path} cannot be read as a pickle of plain values and arrays: {error}. "
            "Unpack the official archive again"
        ) from error


def _text(key) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


class _Dtype:
    """Stands in for numpy.dtype."""

    def __init__(self, code, *_):
        self.code, self.order = code, "|"

    def __setstate__(self, state):
        self.order = state[1]

    def checked(self) -> np.dtype:
        name = f"{self.order}{self.code}"
        if not re.fullmatch(r"[<>|=]([iu][1248]|f[248]|b1)", name):
            raise pickle.UnpicklingError(f"arrays of {name!r} are not read")
        return np.dtype(name)


class _Array:
    """Stands in for numpy.ndarray; `array` is the real one."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        # Python 2 wrote the bytes as a string.
        data = data.encode("latin1") if isinstance(data, str) else data
        flat = np.frombuffer(data, dtype.checked())
        self.array = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_):
    return _Array()


def _from_buffer(data, dtype, shape, order, *_):
    """Arrays of pickle protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text, encoding):
    """Python 3 writes bytes so for the protocols of Python 2."""
    return text.encode("latin1")


STAND_INS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,  # NumPy 2
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if f"{module}.{name}" not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return STAND_INS[f"{module}.{name}"]
