"""State dicts of other people: a safetensors, ``.pt``, ``.pth`` … file -> names and tensors, and nothing else.

A pickle can run code, so ``torch.load`` reads with ``weights_only``; and a small file can claim a large content (a
packed zip, a tensor of many rows in one place of memory, a type of one byte that becomes float32), so sizes are looked
at before and after.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadpipe.errors import WeightsError
from vadpipe.outside import require_regular

if TYPE_CHECKING:
    import torch

MAX_BYTES = 4 << 30
"""Largest file, and largest content in bytes, that is read; CLIP ViT-B/16 in float32 has 0.6 GiB."""

SUFFIXES = (".safetensors", ".pt", ".pth", ".pyth", ".pickle")
"""Endings that are read; all but the first are what ``torch.save`` writes, under the names that publishers gave it."""

_ZIP_START = b"PK\x03\x04"  # by which torch tells its zip format from the one before version 1.6
_PICKLE_ERRORS = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError, AssertionError,
    OverflowError, MemoryError, ImportError, struct.error,
)  # fmt: skip  # all that a damaged or made-up pickle was seen to raise or may, beside UnpicklingError


def read_tensors(
    path: Path, nests: Sequence[str] = ("state_dict",), advice: str = "Save it as safetensors"
) -> dict[str, torch.Tensor]:
    """Read a file into name -> tensor as it was stored, on the CPU; values are not looked at.

    nests
        Keys under which a training checkpoint may hold the state dict; what is beside it there is left out.
    advice
        What the message for a file that is no plain state dict ends with.

    :class:`WeightsError` for any other suffix or content, and for more than :data:`MAX_BYTES`.
    """
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path}: got suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    try:
        require_regular(path)
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if size > MAX_BYTES:
        raise WeightsError(f"{path}: got {size} bytes, expected at most {MAX_BYTES}")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path, size, nests, advice)
    _check_tensors(path, tensors)
    return tensors


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {error}") from error


def _read_pickled(path: Path, size: int, nests: Sequence[str], advice: str) -> dict[str, torch.Tensor]:
    import pickle

    import torch

    try:
        _check_zip(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the formats that are refused below
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, *_PICKLE_ERRORS) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is no plain state dict ({reason}). {advice}") from error
    for nest in nests:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(nest), Mapping):
            loaded = loaded[nest]
            break
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    ):
        raise WeightsError(f"{path} holds {type(loaded).__name__}, expected a state dict: names and tensors")
    return {name: value.detach() for name, value in loaded.items()}


def _check_zip(path: Path, size: int) -> None:
    """Raise ValueError for a zip that holds more than its own size: torch itself writes its zips unpacked."""
    with path.open("rb") as file:
        if file.read(len(_ZIP_START)) != _ZIP_START:
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its zip is compressed, which torch never writes")
    if (told := sum(entry.file_size for entry in entries)) > size:
        raise ValueError(f"its zip claims {told} bytes in a file of {size}")


def _check_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that are no plain arrays, and too much in float32."""
    import torch

    for name, value in tensors.items():
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"{path}: {name[:80]!r} is no plain array; save it as safetensors")
    total = sum(value.numel() * _bytes_as_read(value) for value in tensors.values())
    if total > MAX_BYTES:
        raise WeightsError(f"{path}: its tensors have {total} bytes, expected at most {MAX_BYTES}")


def require_whole(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse views that are larger than what they lie in: for readers that make copies of whatever a file holds."""
    for name, value in tensors.items():
        told, there = value.numel() * value.element_size(), value.untyped_storage().nbytes()
        if told > there:
            raise WeightsError(f"{path}: {name[:80]!r} claims {told} bytes where {there} lie; save it as safetensors")


def _bytes_as_read(value: torch.Tensor) -> int:
    """Bytes of one number; float32 is what encoders make of smaller floating-point types."""
    return max(value.element_size(), 4) if value.is_floating_point() else value.element_size()
