"""Reads pickles of plain values and numeric arrays without running what they name.

A pickle is a program. It may name only what NumPy pickles arrays with, and not even these names
reach NumPy: they are bound to the stand-ins below, and NumPy gets a checked dtype, a shape and
bytes. To allow NumPy's own classes would not be safe, because dtype.__setstate__ trusts the file:
a structured dtype with an object field that is flagged as plain makes pointers of its bytes.
"""

import pathlib
import pickle
import re

import numpy as np

from input_pipeline.decoding import DataError


def read(path: pathlib.Path) -> dict:
    """The dict in a pickle of Python 2 or 3, with arrays among its values and keys as text.

    Raises:
      DataError: a damaged file, anything but plain values and arrays, or no dict.
    """
    try:
        with open(path, "rb") as file:
            values = _Unpickler(file, encoding="latin1").load()
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
    """Stands in for numpy.ndarray and for the function that makes one before its state is set."""

    def __init__(self, *_):
        self.array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        # Python 2 wrote the bytes as a string.
        data = data.encode("latin1") if isinstance(data, str) else data
        flat = np.frombuffer(data, dtype.checked())
        self.array = flat.reshape(shape, order="F" if fortran else "C")


def _from_buffer(data, dtype, shape, order, *_):
    """Arrays of pickle protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


_STAND_INS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    # Python 3 writes bytes so for the protocols of Python 2.
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        # numpy._core is NumPy 2's name for numpy.core.
        stand_in = _STAND_INS.get(f"{module}.{name}".replace("numpy._core.", "numpy.core."))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return stand_in
