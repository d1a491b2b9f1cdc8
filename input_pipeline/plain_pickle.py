"""Reads pickles of plain values and numeric arrays without running what they name.

A pickle is a program. It may name only what NumPy pickles arrays with, and not even these names
reach NumPy: they are bound to the stand-ins below, and NumPy gets a checked dtype, a shape and
bytes. To allow NumPy's own classes would not be safe, because dtype.__setstate__ trusts the file:
a structured dtype with an object field that is flagged as plain makes pointers of its bytes.

A small pickle could also stand for a huge value, or for one whose hash or text takes for ever: a
tuple of twice the same tuple, thirty levels deep, has 2^30 elements. So only names, short texts and
dtypes may be used again, keys are texts or numbers, and the instructions are counted. The C version
of the unpickler has no place for these rules; the one in Python reads an official file in 0.2 s.
"""

import io
import pathlib
import pickle
import re

import numpy as np

from input_pipeline.decoding import DataError

MAX_INSTRUCTIONS = 500_000  # the largest official file has 200,000
MAX_REPEATED = 1024  # characters of a text that is used again


def read(path: pathlib.Path) -> dict:
    """The dict in a pickle of Python 2 or 3: keys as text; numbers, texts, arrays, and lists.

    Raises:
      DataError: a damaged file, anything but plain values and arrays, or no dict.
    """
    try:
        values = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        if not isinstance(values, dict):
            raise pickle.UnpicklingError(f"it holds a {type(values).__name__}, not a dict")
        return {_text(key): _plain(value) for key, value in values.items()}
    except Exception as error:  # a damaged pickle raises anything
        reason = str(error)[:200] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as a pickle of plain values and arrays: {reason}. "
            "Unpack the official archive again"
        ) from error


def _text(key) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def _plain(value):
    """A number, a text, an array, or a list of numbers and texts."""
    if isinstance(value, _Array):
        return value.array
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str | bytes | int | float | None):
            raise pickle.UnpicklingError(f"a {type(one).__name__} in it is not plain")
    return value


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


class _Unpickler(pickle._Unpickler):
    def __init__(self, file: io.BytesIO, encoding: str):
        super().__init__(file, encoding=encoding)
        self.dispatch = _Instructions(_LOADERS)

    def find_class(self, module, name):
        # numpy._core is NumPy 2's name for numpy.core.
        stand_in = _STAND_INS.get(f"{module}.{name}".replace("numpy._core.", "numpy.core."))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return stand_in


class _Instructions(dict):
    """The functions of pickle's instructions, which may be asked for only so often."""

    left = MAX_INSTRUCTIONS

    def __getitem__(self, code: int):
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"it has more than {MAX_INSTRUCTIONS} instructions")
        if code not in self:
            raise pickle.UnpicklingError(f"the instruction {bytes([code])} is refused")
        return super().__getitem__(code)


_PYTHON = pickle._Unpickler.dispatch


def _get(code: int):
    """A value that is used again."""

    def load(unpickler):
        _PYTHON[code](unpickler)
        value = unpickler.stack[-1]
        short = isinstance(value, str | bytes) and len(value) <= MAX_REPEATED
        if not (short or isinstance(value, _Dtype) or any(value is x for x in _STAND_INS.values())):
            raise pickle.UnpicklingError(f"a {type(value).__name__} occurs in it more than once")

    return load


def _set_items(code: int):
    """Items of a dict."""

    def load(unpickler):
        keys = unpickler.stack[-2:-1] if code == pickle.SETITEM[0] else unpickler.stack[::2]
        if not all(isinstance(key, str | bytes | int) for key in keys):
            raise pickle.UnpicklingError("a key is neither a text nor a number")
        _PYTHON[code](unpickler)

    return load


def _build(unpickler):
    """The state of a stand-in; without this check a file could set attributes of functions."""
    if not isinstance(unpickler.stack[-2], _Array | _Dtype):
        raise pickle.UnpicklingError(f"a {type(unpickler.stack[-2]).__name__} has no state")
    _PYTHON[pickle.BUILD[0]](unpickler)


def _bytearray(unpickler):
    """Python's own function makes room for as many bytes as the file says."""
    length = int.from_bytes(unpickler.read(8), "little")
    unpickler.append(unpickler.read(length))


_REFUSED = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.DUP)
_LOADERS = (
    {code: load for code, load in _PYTHON.items() if bytes([code]) not in _REFUSED}
    | {code[0]: _get(code[0]) for code in (pickle.GET, pickle.BINGET, pickle.LONG_BINGET)}
    | {code[0]: _set_items(code[0]) for code in (pickle.SETITEM, pickle.SETITEMS, pickle.DICT)}
    | {pickle.BUILD[0]: _build, pickle.BYTEARRAY8[0]: _bytearray}
)
