"""Looks that a broken library, driver or disk could crash or hang: each in a process apart, with a time limit.

:func:`ask` is the caller's side. The other runs as ``python -P -m vadpipe.pipeline.diagnosing.child TASK ARGUMENT…``
and ends its output with one line of JSON.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError, VideoError

_STRIDE = 16
_CPU = (10, 4)  # seconds of the video, snippets a batch: a few batches have to fit into the seconds
_GPU = (60, None)


class AskError(Exception):
    """A look that failed: the process's last words, or its signal."""


class TooSlow(AskError):
    """One that took too long."""


def ask(task: str, *arguments: object, timeout_s: float = 120.0) -> dict[str, Any]:
    """The answer of a look; :class:`AskError` in a sentence."""
    command = [sys.executable, "-P", "-m", "vadpipe.pipeline.diagnosing.child", task, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise TooSlow(f"no answer within {timeout_s:.0f} s") from error
    except OSError as error:
        raise AskError(f"no process could be started ({error})") from error
    if done.returncode:
        raise AskError(_how_it_ended(done.returncode, done.stderr))
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise AskError("an answer that cannot be read") from error
    if not isinstance(answer, dict):
        raise AskError("an answer that cannot be read")
    return answer


def _how_it_ended(code: int, stderr: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"crashed ({name})"
    lines = stderr.strip().splitlines()
    return lines[-1] if lines else f"ended with exit code {code}"


def import_all(*modules: str) -> dict[str, Any]:
    """Module -> what went wrong as it was imported; empty where nothing did."""
    told = {}
    for name in modules:
        try:
            import_module(name)
        except Exception as error:  # broken packages raise anything
            told[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            told[name] = ""
    return told


def look_at_torch() -> dict[str, Any]:
    """Version and build of torch, and the GPUs that it can use."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = []
    for index in range(count):
        facts = torch.cuda.get_device_properties(index)
        gpus.append({"name": facts.name, "memory_gib": round(facts.total_memory / 1024**3, 1)})
    try:
        ctypes.CDLL("libnvcuvid.so.1")
        has_nvdec = True
    except OSError:
        has_nvdec = False
    return {"version": str(torch.__version__), "cuda": torch.version.cuda, "gpus": gpus, "nvdec_library": has_nvdec}


def confine() -> dict[str, Any]:
    """What of their confinement this machine lets decoder children have."""
    from vadpipe.extractors import confinement

    return asdict(confinement.confine([]))


def paint(path: str) -> dict[str, Any]:
    """Write the painted video."""
    from vadpipe.extractors.painted import write_painted

    return {"ffmpeg": write_painted(Path(path))}


def decode_on_gpu(path: str) -> dict[str, Any]:
    """The numbers that the GPU's video decoder shows of the painted video."""
    from vadpipe.extractors.cuda_decode import DeviceRow, open_device
    from vadpipe.extractors.media import Request, View
    from vadpipe.extractors.painted import EVERY, read_number

    with open_device(path, Request(EVERY, views=(View("full"),))) as reader:
        return {"shown": [read_number(item.image.cpu().numpy()) for item in reader if isinstance(item, DeviceRow)]}


def try_store(folder: str) -> dict[str, Any]:
    """Write an HDF5 file in ``folder`` and read it back, as the feature store does; and whether HDF5's locks work."""
    import h5py

    path = Path(folder) / "try.h5"
    with h5py.File(path, "w", locking=False) as file:  # as the store writes
        file.create_dataset("data", data=list(range(64)), chunks=True, fletcher32=True)
    path.replace(moved := path.with_name("moved.h5"))
    with h5py.File(moved, "r", locking=False) as file:
        whole = list(file["data"]) == list(range(64))
    try:
        with h5py.File(moved, "r+", locking=True):
            locks = True
    except OSError:
        locks = False
    return {"whole": whole, "locks": locks}


def measure_speed(folder: str, seconds: str, device: str) -> dict[str, Any]:
    """Frames per second that are decoded and encoded by CLIP with random weights, from the second batch on."""
    import torch

    from vadpipe.extractors import create
    from vadpipe.extractors.painted import write_street
    from vadpipe.pipeline.extract import ExtractOptions, Step, extract_tracks

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    length_s, batch_size = _CPU if device == "cpu" else _GPU
    write_street(source := Path(folder) / "street.mp4", length_s)
    extractor = create("clip", weights="random", device=device, batch_size=batch_size)
    began, frames, last = 0.0, 0.0, 0.0

    def on_step(step: Step) -> None:
        nonlocal began, frames, last
        last = time.monotonic()
        if not began:  # the first batch also pays for the start
            began = last
            return
        frames += step.frames
        if last - began >= float(seconds):
            raise _Enough

    options = ExtractOptions(_STRIDE, jobs=2)
    try:
        with closing(extract_tracks(_copies(source), [extractor], options, on_step)) as results:
            for result in results:
                if error := getattr(result, "error", None):
                    raise error
    except _Enough:
        pass
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"
    return {"frames_per_s": frames / (last - began), "device": device, "name": name, "stride": _STRIDE}


class _Enough(Exception):
    """Measured long enough."""


def _copies(source: Path) -> Iterator[Path]:
    """The same video under ever new names."""
    for number in itertools.count():
        path = source.with_name(f"street-{number}.mp4")
        try:
            os.link(source, path)
        except OSError:  # a file system without links
            shutil.copyfile(source, path)
        yield path


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "import": import_all,
    "torch": look_at_torch,
    "confine": confine,
    "paint": paint,
    "nvdec": decode_on_gpu,
    "store": try_store,
    "speed": measure_speed,
}


if __name__ == "__main__":
    try:
        sys.stdout.write(f"\n{json.dumps(TASKS[sys.argv[1]](*sys.argv[2:]))}\n")
    except (ImportError, OSError, UsageError, VideoError) as error:  # what it says is the last line
        sys.stderr.write(f"\n{' '.join(str(error).split())}\n")
        sys.exit(1)
