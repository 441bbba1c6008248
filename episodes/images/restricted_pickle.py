"""Read arrays out of a pickle without running the code that a pickle may hold.

A pickle is a program for a small machine that can call anything Python can import. Here the machine reaches nothing but
the stand-ins below. They rebuild arrays of plain numbers and text from bytes and refuse everything else; not even
NumPy's own rebuilding functions are called, as these trust what they are given.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from episodes.errors import DataError

MOST_BYTES = 8 << 30  # of a pickle; the largest cache of miniImageNet has 1.1 GB
_PLAIN_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|[SU]\d{1,6})")


class _RefusedError(pickle.UnpicklingError):
    """The pickle asks for more than arrays."""


def _text(value: object) -> str:
    """Text as Python 3 or, as bytes, Python 2 wrote it."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise _RefusedError(f"a {type(value).__name__} where text belongs")


class _Dtype:
    """Stands in for numpy.dtype: a plain number or text of fixed length, never an object or a record."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        del align, copy  # of no meaning for plain types
        self.code, self.order = _text(code), "="
        if not _PLAIN_DTYPE.fullmatch(self.code):
            raise _RefusedError(f"an array of type {self.code[:20]!r}")

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, field names, fields, item size, alignment, flags[, metadata])
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise _RefusedError("an array of records")
        self.order = _text(state[1])

    def dtype(self) -> np.dtype[Any]:
        order = self.order if self.order in ("<", ">") else ""
        return np.dtype(order + self.code.lstrip("<>=|") if order else self.code)


class _Array:
    """Stands in for numpy.ndarray, and for a NumPy scalar, an array without axes."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __init__(self, dtype: object = None, shape: object = None, raw: object = b"", fortran: bool = False) -> None:
        self.dtype, self.shape, self.raw, self.fortran = dtype, shape, raw, fortran

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _RefusedError("an array of unknown form")
        self.shape, self.dtype, fortran, self.raw = state[-4:]  # before them the version, in newer pickles
        self.fortran = bool(fortran)

    def array(self) -> npt.NDArray[Any]:
        """A view of the bytes that were in the file."""
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        if not isinstance(self.dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
            raise _RefusedError("an array of something else than numbers and text")
        dtype, shape = self.dtype.dtype(), self.shape
        if (
            not isinstance(shape, tuple)
            or len(shape) > 32
            or not all(isinstance(n, int) and 0 <= n < 2**63 for n in shape)
        ):
            raise _RefusedError("an array of unknown shape")
        if len(raw) != math.prod(shape) * dtype.itemsize:
            raise _RefusedError(f"an array of shape {shape} with {len(raw)} bytes")
        return np.ndarray(shape, dtype, raw, order="F" if self.fortran else "C")


class _Admitted:
    """What a global name of the pickle stands for. It can be called, and cannot be changed."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)

    def __setstate__(self, state: object) -> NoReturn:  # the BUILD instruction comes here instead of setting attributes
        raise _RefusedError("changing a function")


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2: _codecs.encode(text, "latin1")."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("a codec other than latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _blank_array(*arguments: object) -> _Array:
    """_reconstruct(numpy.ndarray, (0,), b"b"); shape, type and bytes follow by __setstate__."""
    del arguments
    return _Array()


def _array_from_buffer(raw: object, dtype: object, shape: object, order: object) -> _Array:
    return _Array(dtype, shape, raw, fortran=_text(order) == "F")


def _scalar(dtype: object, raw: object) -> _Array:
    return _Array(dtype, (), raw)


_ADMITTED: dict[str, Callable[..., object]] = {
    "numpy.ndarray": _blank_array,  # never called by NumPy's pickles, only handed to _reconstruct
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _ADMITTED[f"{_core}.multiarray._reconstruct"] = _blank_array
    _ADMITTED[f"{_core}.multiarray.scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric._frombuffer"] = _array_from_buffer


_Machine: Any = pickle._Unpickler
"""The machine in Python: that in C takes 8.5 GB for a memo of 9 bytes, and hears no Ctrl-C while it hashes."""


class _ArrayUnpickler(_Machine):
    dispatch: ClassVar[dict[int, Any]] = dict(_Machine.dispatch)

    def load_setitem(self) -> None:
        _refuse_key(self.stack[-2])
        _Machine.load_setitem(self)

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _refuse_key(key)
        _Machine.load_setitems(self)

    def load_dict(self) -> None:
        for key in self.stack[::2]:
            _refuse_key(key)
        _Machine.load_dict(self)

    def load_set(self) -> NoReturn:
        raise _RefusedError("a set")

    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict}
    dispatch |= dict.fromkeys((pickle.EMPTY_SET[0], pickle.FROZENSET[0]), load_set)

    def find_class(self, module: str, name: str) -> object:
        full_name = f"{module}.{name}"
        if full_name not in _ADMITTED:
            raise _RefusedError(f"{full_name}"[:80])
        return _Admitted(_ADMITTED[full_name])


def _refuse_key(key: object) -> None:
    """A tuple that holds another twice, and so on, takes twice the time with every level to be hashed."""
    if not isinstance(key, str | bytes | int | float | _Array | None):
        raise _RefusedError(f"a {type(key).__name__.lstrip('_')} as the key of a dictionary")


def _resolve(value: object, known: dict[int, object]) -> object:
    """The same value with arrays in place of their stand-ins, and dictionary keys as text where they were bytes."""
    if value is None or isinstance(value, bool | int | float | str | bytes | bytearray):
        return value
    if id(value) in known:  # also keeps nested repetition from growing without bound
        return known[id(value)]
    resolved: object
    if isinstance(value, _Array):
        array = value.array()
        resolved = array if array.ndim else array.item()
    elif isinstance(value, list):
        resolved = [_resolve(item, known) for item in value]
    elif isinstance(value, tuple):
        resolved = tuple(_resolve(item, known) for item in value)
    elif isinstance(value, dict):
        resolved = {_key(_resolve(key, known)): _resolve(item, known) for key, item in value.items()}
    else:
        raise _RefusedError(f"a {type(value).__name__.lstrip('_')}")
    known[id(value)] = resolved
    return resolved


def _key(key: object) -> object:
    return _text(key) if isinstance(key, bytes) else key


class _Bounded:
    """A file of which nobody can ask for more than it has: memory would be taken for all of it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > self.size:
            raise EOFError("it ends too early")
        return self.file.read(count)


def _check_head(path: Path, file: BinaryIO) -> None:
    """Raise DataError for the files that most often lie under the name of a pickle without being one."""
    head = file.read(256).lstrip()
    file.seek(0)
    if not head:
        raise DataError(f"{path} is empty: delete it and get it again")
    if head.startswith(b"<"):
        raise DataError(f"{path} is a web page, not a pickle (the download was answered by a page): get the file again")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull` where it came from")


def load_arrays(path: Path) -> object:
    """The arrays, dictionaries, lists, tuples, text, bytes and numbers of a pickle, of Python 2 as of Python 3.

    Arrays are read-only views; NumPy scalars become Python numbers; dictionary keys of bytes become text.
    Raises DataError, with one line, for a pickle that asks for anything else and for a file that is no whole pickle.
    """
    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():
            raise DataError(f"{path} is no file, or has more than the {MOST_BYTES:,} bytes that are read of a pickle")
        with path.open("rb") as file:
            _check_head(path, file)
            # "bytes", for Python 2 kept pixels in its text type and any other reading would copy them once more
            bounded = _Bounded(file, path.stat().st_size)
            return _resolve(_ArrayUnpickler(bounded, encoding="bytes").load(), {})
    except _RefusedError as error:
        raise DataError(
            f"{path} is refused: it holds {error}, and only arrays, dictionaries, lists, text and numbers are read "
            "from a pickle, because it could run any code. Get the file from a source you trust."
        ) from None
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can fail in every way a program can
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is not a whole pickle ({reason}): delete it and get it again") from error
