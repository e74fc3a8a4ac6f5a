"""What ``vadpipe doctor`` looks at in the machine."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import sys
from functools import partial
from pathlib import Path

from vadpipe.extractors.painted import expected_numbers
from vadpipe.pipeline.diagnosing.check import BROKEN, NOTE, OK, WARNING, Check
from vadpipe.pipeline.diagnosing.child import AskError, ask

_FFMPEG = ("avutil", "avcodec", "avformat", "avdevice", "avfilter", "swscale", "swresample")
_OLDEST = (3, 11)
_NVIDIA = Path("/dev/nvidia0")
_TORCH = "pip install --force-reinstall torch torchvision"
_DRIVER_PARTS = "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"


def python() -> Check:
    """The interpreter."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] < _OLDEST:
        return Check("python", BROKEN, found, "install Python 3.11 or newer, then: python3.11 -m venv .venv")
    return Check("python", OK, found)


def machine() -> Check:
    """Cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return Check("machine", OK, f"{cores} CPU cores, {memory:.1f} GiB of memory, {platform.platform()}")


def ffmpeg_libraries() -> Check:
    """FFmpeg's shared libraries, where the system's linker finds them; in other places only loading them tells."""
    places = {name: ctypes.util.find_library(name) for name in _FFMPEG}
    missing = [name for name, place in places.items() if place is None]
    if not missing:
        return Check("FFmpeg libraries", OK, f"{places['avcodec']} and its family, of the system")
    found = "none of the system" if len(missing) == len(_FFMPEG) else f"missing: {', '.join(missing)}"
    fix = "apt-get install --yes ffmpeg   (or: conda install --channel conda-forge ffmpeg)"
    return Check("FFmpeg libraries", NOTE, f"{found}; needed by torchcodec alone", fix)


def accelerator(painted: Path | None, *, has_torchcodec: bool) -> list[Check]:
    """Whether torch loads, its GPUs, and whether NVDEC decodes the painted video as it should."""
    try:
        facts = ask("torch")
    except AskError as error:
        return [Check("torch loads", BROKEN, str(error), _TORCH)]
    build = f"for CUDA {facts['cuda']}" if facts["cuda"] else "for the CPU alone"
    found = [Check("torch loads", OK, f"{facts['version']}, {build}")]
    if not facts["gpus"]:
        return [*found, _no_gpu(facts["cuda"]), Check("NVDEC", NOTE, "no GPU that torch can use; the CPU decodes")]
    for number, gpu in enumerate(facts["gpus"]):
        found.append(Check(f"GPU {number}", OK, f"{gpu['name']}, {gpu['memory_gib']} GiB"))
    return [*found, _nvdec(painted, has_library=facts["nvdec_library"], has_torchcodec=has_torchcodec)]


def _no_gpu(cuda: str | None) -> Check:
    if not (_NVIDIA.exists() or shutil.which("nvidia-smi")):
        return Check("GPU", NOTE, "none; everything runs on the CPU, --device cuda does not")
    found = "the machine has an NVIDIA GPU or its driver, but torch cannot use it"
    fix = f"update the NVIDIA driver to one for CUDA {cuda}; in a container start it with: docker run --gpus all"
    return Check("GPU", WARNING, found, fix if cuda else f"{_TORCH}   (the build for CUDA)")


def _nvdec(painted: Path | None, *, has_library: bool, has_torchcodec: bool) -> Check:
    """What ``--decode-device cuda`` would do."""
    line = partial(Check, "NVDEC")
    if not has_library:
        return line(NOTE, "libnvcuvid.so.1 is missing; it is part of NVIDIA's driver", f"docker run -e {_DRIVER_PARTS}")
    if not has_torchcodec:
        return line(NOTE, "not tried: it needs torchcodec", "pip install 'vadpipe[torchcodec]'")
    if painted is None:
        return line(NOTE, "not tried: there is no painted video")
    try:
        shown = ask("nvdec", painted)["shown"]
    except AskError as error:
        return line(WARNING, f"does not decode: {error}", "vadpipe extract … --decode-device cpu   (the default)")
    if shown != expected_numbers():
        return line(WARNING, f"decodes other frames than asked for: {shown}", "vadpipe extract … --decode-device cpu")
    return line(OK, f"decoded {len(shown)} painted frames, each the right one")
