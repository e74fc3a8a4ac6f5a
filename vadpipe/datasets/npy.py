"""Plain ``.npy`` arrays, opened without reading their values: files that were downloaded are not trusted."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vadpipe.errors import DataError, UsageError
from vadpipe.outside import open_regular

_MAX_HEADER = 10_000
# numpy parses the header as Python text and lets the parser's own errors through
_HEADER_ERRORS = (
    *(ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, RecursionError, MemoryError),
    *(KeyError, IndexError, AttributeError, AssertionError, SystemError),
)


class ArrayHeader(NamedTuple):
    """What a file says about its array; it may lie."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def read_array_header(file: BinaryIO) -> ArrayHeader:
    """Read the header of an open ``.npy`` file, which then stands where the values begin.

    :class:`DataError`, which does not name the file, for anything that is no such header.
    """
    try:
        version = npy_format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version[0]}.{version[1]}, expected 1.0 or 2.0")
        at, field = file.tell(), 2 if version == (1, 0) else 4
        if (length := int.from_bytes(file.read(field), "little")) > _MAX_HEADER:  # numpy would make room for it first
            raise ValueError(f"a header of {length} bytes, expected at most {_MAX_HEADER}")
        file.seek(at)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        return ArrayHeader(*read(file, max_header_size=_MAX_HEADER))
    except _HEADER_ERRORS as error:
        raise DataError(f"not a plain .npy array: {error!s:.200}") from error


def open_array(path: str | Path) -> NDArray[Any]:
    """Return the array as a memory map, so that neither a large file nor a lying header takes memory.

    :class:`UsageError` if the file cannot be opened; :class:`DataError` if it is no plain array, holds Python objects,
    or is shorter than its header says.
    """
    try:
        with open_regular(path) as file:
            if not file.read(1):
                raise DataError("empty (0 bytes)")
            file.seek(0)
            read_array_header(file)
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if mapped.dtype.kind not in "biuf":
            raise DataError(f"not a plain .npy array: got {mapped.dtype}, expected numbers")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except _HEADER_ERRORS as error:
        raise DataError(f"{path}: not a plain .npy array: {error!s:.200}") from error
    return mapped
