"""Plain ``.npy`` arrays, opened without reading their values: files that were downloaded are not trusted."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, UsageError


def open_array(path: str | Path) -> NDArray[Any]:
    """Return the array as a memory map, so that neither a large file nor a lying header takes memory.

    :class:`UsageError` if the file cannot be opened; :class:`DataError` if it is no plain array, holds Python objects,
    or is shorter than its header says.
    """
    try:
        if Path(path).stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError) as error:
        # numpy parses the header as Python text and lets the parser's own errors through
        raise DataError(f"{path} is not a plain .npy array: {error}") from error
    if not isinstance(mapped, np.ndarray):
        raise DataError(f"{path} is not a plain .npy array, but an archive of several")
    return mapped
