"""``.npy`` files of other people: a (T, D) array of numbers, or a :class:`DataError` that says what is wrong.

A file is read once, so that its digest and its values belong together. Nothing in it is trusted: the header is parsed
under a length limit, its shape must agree with the file's size before any memory is asked for, and Python objects
(pickles) are refused.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vadpipe.datasets.npy import read_array_header
from vadpipe.errors import DataError
from vadpipe.outside import open_regular

MAX_BYTES = 1 << 30
"""Largest file that is read; a day of video has 0.2 GiB of CLIP features."""

_DTYPES = (np.float16, np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a file's first bytes say; agrees with its size. data_at: byte at which the values begin."""

    rows: int
    columns: int
    dtype: np.dtype[Any]
    fortran: bool
    data_at: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class NpyFile:
    """data (T, D) float16 or float32 (float64 is rounded to float32), finite; the file's size and sha256."""

    data: NDArray[Any]
    size: int
    sha256: str


def read_header(path: Path) -> NpyHeader:
    """Read the first bytes of a file only; :class:`DataError` where it cannot hold (T, D) features."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return _header(file, size, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_npy(path: Path) -> NpyFile:
    """Read a whole file; :class:`DataError` for anything but finite numbers of shape (T, D), T and D at least 1."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            header = _header(file, size, path)
            file.seek(0)
            content = file.read(size + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) != size:
        raise DataError(f"{path} changed while it was read; run again")
    flat = np.frombuffer(content, dtype=header.dtype, offset=header.data_at)
    data = flat.reshape((header.rows, header.columns), order="F" if header.fortran else "C")
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite and is refused below
        kind = np.float16 if header.dtype.itemsize == 2 else np.float32
        data = np.ascontiguousarray(data, dtype=kind)
    if not np.isfinite(data).all():
        raise DataError(f"{path} holds NaN or infinity in row {int(np.argmin(np.isfinite(data).all(axis=1)))}")
    return NpyFile(data, size, hashlib.sha256(content).hexdigest())


def _header(file: BinaryIO, size: int, path: Path) -> NpyHeader:
    if size > MAX_BYTES:
        raise DataError(f"{path}: got {size} bytes, expected at most {MAX_BYTES} of one video's features")
    try:
        shape, fortran, dtype = read_array_header(file)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if dtype.hasobject:
        raise DataError(f"{path} holds Python objects (a pickle), which could run code; expected numbers (T, D)")
    if len(shape) != 2 or dtype.newbyteorder("=") not in _DTYPES:
        raise DataError(f"{path}: got {dtype} {shape}, expected float16, float32 or float64 (T, D)")
    rows, columns = shape
    if type(rows) is not int or type(columns) is not int or rows < 1 or columns < 1:
        raise DataError(f"{path}: got shape {shape}, expected (T, D) with at least one row and column")
    wanted = file.tell() + rows * columns * dtype.itemsize
    if size != wanted:
        what = "truncated" if size < wanted else "longer than it says"
        raise DataError(f"{path} is {what}: {size} bytes, expected {wanted} for {dtype} {shape}")
    return NpyHeader(rows, columns, dtype, fortran, file.tell(), size)
