"""``vadpipe doctor``: what is installed, what is missing, and the command that mends it. Imports no torch by itself."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
from importlib import import_module, metadata
from typing import NamedTuple

_CORE = ("numpy", "torch", "torchvision", "open_clip_torch", "av", "h5py", "safetensors", "matplotlib")
_FFMPEG = ("avutil", "avcodec", "avformat", "avdevice", "avfilter", "swscale", "swresample")
_EXTRAS = {"decord": "decord", "torchcodec": "torchcodec", "torchaudio": "audio", "pytorchvideo": "video3d"}


class Check(NamedTuple):
    """One line: what was looked at, how it is, and what to do ("" where nothing)."""

    name: str
    state: str
    hint: str


def checks(*, full: bool = False) -> list[Check]:
    """Look at the machine and the installed packages; ``full`` imports torch, loads torchcodec and looks for a GPU."""
    found = [
        Check("python", platform.python_version(), ""),
        Check("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()), ""),
    ]
    found += [_package(name, "pip install vadpipe") for name in _CORE]
    found += [_package(name, f"optional: pip install 'vadpipe[{extra}]'") for name, extra in _EXTRAS.items()]
    found.append(_ffmpeg())
    weights = os.environ.get("VADPIPE_WEIGHTS", "")
    found.append(
        Check("VADPIPE_WEIGHTS", weights or "not set", "" if weights else "optional: folder of encoder weights")
    )
    return found + ([_torchcodec(), *_gpu()] if full else [])


def _package(name: str, hint: str) -> Check:
    try:
        return Check(name, metadata.version(name), "")
    except metadata.PackageNotFoundError:
        return Check(name, "missing", hint)


def _ffmpeg() -> Check:
    """FFmpeg's shared libraries, where the system's linker finds them; in other places only loading them tells."""
    places = {name: ctypes.util.find_library(name) for name in _FFMPEG}
    missing = [name for name, place in places.items() if place is None]
    if not missing:
        return Check("FFmpeg libraries", str(places["avcodec"]), "")
    state = "none" if len(missing) == len(_FFMPEG) else f"missing: {', '.join(missing)}"
    hint = "needed only by torchcodec: apt-get install --yes ffmpeg, or conda install --channel conda-forge ffmpeg"
    return Check("FFmpeg libraries", state, hint)


def _torchcodec() -> Check:
    from vadpipe.errors import UsageError
    from vadpipe.extractors.media import decoder_version

    try:
        return Check("decoder torchcodec", f"loads ({decoder_version('torchcodec')})", "")
    except UsageError as error:
        return Check("decoder torchcodec", "does not load", str(error))


def _nvdec() -> Check:
    """Whether ``--decode-device cuda`` has what it needs, short of decoding; torch can be imported."""
    import torch

    if not torch.cuda.is_available():
        return Check("NVDEC", "no GPU", "")
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        hint = "part of NVIDIA's driver; in a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        return Check("NVDEC", "libnvcuvid.so.1 is missing", hint)
    return Check("NVDEC", "torch sees a GPU, libnvcuvid.so.1 is there", "")


def _gpu() -> list[Check]:
    try:
        import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:  # a broken build fails in its own ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return [Check("torch loads", f"no: {reason}", "pip install --force-reinstall torch torchvision")]
    return [*_gpus(), _nvdec()]


def _gpus() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        return [Check("GPU", "none that torch can use", "CPU works; for a GPU see the README, Docker")]
    return [Check(f"GPU {index}", torch.cuda.get_device_name(index), "") for index in range(torch.cuda.device_count())]
