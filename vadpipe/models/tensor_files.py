"""Tensor files and the description that names their digests, replaced together: a kill leaves the old or the new.

Two files cannot be renamed at once. So new tensors lie beside the old as ``NAME.next.safetensors`` until the
description, which decides, has been replaced; whoever reads takes the file that the description names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vadpipe.errors import CheckpointError, StoreError
from vadpipe.outside import read_regular
from vadpipe.whole_file import atomic_write, disk_reason, sync_folder

MOST_BYTES = 4 << 30
"""Largest tensor file of a head that is read."""


def replace_files(tensors: Mapping[Path, bytes], description: Path, described: bytes) -> None:
    """Write ``tensors`` and ``description``, all in one folder; ``described`` holds the sha256 of each, in hex.

    :class:`vadpipe.errors.StoreError` where the disk refuses.
    """
    standing = description.is_file()
    if standing:
        _settle(tensors, description)
    for path, content in tensors.items():
        atomic_write(_next(path) if standing else path, content)
    atomic_write(description, described)
    if standing:
        _settle(tensors, description)


def _settle(paths: Iterable[Path], description: Path) -> None:
    """Give next files that the description names their own names, and remove others, which nothing names."""
    try:
        # not decoded: a damaged one names no digest, and is replaced all the same
        told = read_regular(description, MOST_BYTES)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if hashlib.sha256(read_regular(_next(path), MOST_BYTES)).hexdigest().encode() in told:
                    os.replace(_next(path), path)  # noqa: PTH105  # the atomic step deserves its own name
                else:
                    _next(path).unlink()
        sync_folder(description.parent)
    except OSError as error:
        raise StoreError(f"cannot write {description.parent}: {disk_reason(error)}") from error
    except ValueError as error:
        raise StoreError(f"cannot write {description.parent}: a file in it has {error}") from error


def read_file(path: Path, sha256: str) -> bytes:
    """Content of the file with this digest, under its own name or its next one; :class:`CheckpointError` if none."""
    try:
        content = read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); train or import again") from error
    if hashlib.sha256(content).hexdigest() == sha256:
        return content
    with contextlib.suppress(OSError, ValueError):  # the usual case: there is none
        content = read_regular(_next(path), MOST_BYTES)
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    raise CheckpointError(f"{path} has another sha256 than config.json says: damaged or exchanged")


def _next(path: Path) -> Path:
    return path.with_name(f"{path.stem}.next{path.suffix}")
