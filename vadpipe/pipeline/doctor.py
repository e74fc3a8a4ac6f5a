"""``vadpipe doctor``: what is installed, what is missing, and the command that mends it. Imports no torch by itself."""

from __future__ import annotations

import ctypes.util
import os
import platform
from importlib import metadata
from typing import NamedTuple

_CORE = ("numpy", "torch", "torchvision", "open_clip_torch", "av", "h5py", "safetensors", "matplotlib")
_EXTRAS = {"decord": "decord", "torchcodec": "torchcodec", "torchaudio": "audio", "pytorchvideo": "video3d"}


class Check(NamedTuple):
    """One line: what was looked at, how it is, and what to do ("" where nothing)."""

    name: str
    state: str
    hint: str


def checks(*, full: bool = False) -> list[Check]:
    """Look at the machine and the installed packages; ``full`` imports torch and looks for a GPU."""
    found = [
        Check("python", platform.python_version(), ""),
        Check("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()), ""),
    ]
    found += [_package(name, "pip install vadpipe") for name in _CORE]
    found += [_package(name, f"optional: pip install 'vadpipe[{extra}]'") for name, extra in _EXTRAS.items()]
    ffmpeg = ctypes.util.find_library("avcodec")
    found.append(
        Check("system FFmpeg", ffmpeg or "none", "" if ffmpeg else "needed only by torchcodec: apt-get install ffmpeg")
    )
    weights = os.environ.get("VADPIPE_WEIGHTS", "")
    found.append(
        Check("VADPIPE_WEIGHTS", weights or "not set", "" if weights else "optional: folder of encoder weights")
    )
    return found + (_torch() if full else [])


def _package(name: str, hint: str) -> Check:
    try:
        return Check(name, metadata.version(name), "")
    except metadata.PackageNotFoundError:
        return Check(name, "missing", hint)


def _torch() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        return [Check("GPU", "none that torch can use", "CPU works; for a GPU see the README, Docker")]
    return [Check(f"GPU {index}", torch.cuda.get_device_name(index), "") for index in range(torch.cuda.device_count())]
