"""What an encoder computes on: device, number type, and how the process holds its memory."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import torch

from vadpipe.errors import UsageError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def checked_compute(
    device: str, dtype: str, batch_size: int | None, *, cpu: int, cuda: int
) -> tuple[torch.device, torch.dtype, int]:
    """Device, dtype and batch size of an encoder; ``cpu`` or ``cuda`` is the batch size where none is given.

    On a CPU it calls :func:`keep_freed_blocks`. :class:`UsageError` for what this machine lacks, and for a batch size
    below 1.
    """
    found = checked_device(device)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size: got {batch_size}, expected at least 1")
    number_type = checked_dtype(dtype, found)
    if found.type == "cpu":
        keep_freed_blocks()
    default = cpu if found.type == "cpu" else cuda
    return found, number_type, default if batch_size is None else batch_size


def checked_device(device: str) -> torch.device:
    """``cpu``, ``cuda`` or ``cuda:1`` as a torch device; :class:`UsageError` where this machine has no such thing."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device: got {device!r}, expected cpu, cuda or cuda:NUMBER") from error
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"device: got {device!r}, expected cpu, cuda or cuda:NUMBER")
    if found.type == "cuda":
        if (found.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"device: got {device!r}, but torch sees {torch.cuda.device_count()} CUDA devices")
        torch.backends.cudnn.allow_tf32 = False  # float32 has to mean float32, in the patch embedding too
    return found


def checked_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``float32`` or ``bfloat16`` as a torch type; :class:`UsageError` where ``device`` does not compute in it."""
    if dtype not in _DTYPES:
        raise UsageError(f"dtype: got {dtype!r}, expected one of {', '.join(_DTYPES)}")
    computes = device.type == "cuda" or cpu_computes_bfloat16()
    if dtype == "bfloat16" and not computes:
        raise UsageError(
            "dtype: got bfloat16, but this processor has neither avx512_bf16 nor amx_bf16 and would emulate it, "
            "slower than float32: use float32"
        )
    return _DTYPES[dtype]


def cpu_computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True where the processor multiplies bfloat16 itself; False where that cannot be seen (other than Linux)."""
    if not cpuinfo.is_file():
        return False
    flags = {word for line in cpuinfo.read_text().splitlines() if line.startswith("flags") for word in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def keep_freed_blocks() -> bool:
    """Tell glibc to keep freed memory for the next batch; True where it was told, False without glibc.

    Each layer's buffers are tens of megabytes, which glibc takes from the kernel and gives back every time: 670 000
    page faults a batch of 32, about a fifth of the processor time (docs/decisions/0004-clip-numbers.md). It holds for
    the whole process: memory that was needed once stays with it. The same as the environment variables
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1, which would have to be set before Python starts.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(m_mmap_max, 0)) and bool(libc.mallopt(m_trim_threshold, -1))
