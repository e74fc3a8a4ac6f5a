"""``vadpipe doctor``: what is installed, what works, and the command that mends what does not.

Every look is apart: one that fails has its line and stops no other. What could crash or hang runs in a child process;
this one imports neither torch nor a decoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from vadpipe import __version__
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.weights_table import KNOWN
from vadpipe.pipeline.diagnosing import machine as doctor_machine
from vadpipe.pipeline.diagnosing import media as doctor_media
from vadpipe.pipeline.diagnosing import packages as doctor_packages
from vadpipe.pipeline.diagnosing import places as doctor_places
from vadpipe.pipeline.diagnosing.check import BROKEN, OK, WARNING, Check, first_line
from vadpipe.pipeline.diagnosing.child import AskError, TooSlow, ask

Look = Callable[[], Check | Sequence[Check]]

_HOUR_FRAMES = 25 * 3600
_SPEED_LIMIT_S = 180.0  # building the encoder and its first batch come before the seconds that count


def run_checks(
    project: Path, *, quick: bool = False, seconds: float = 5.0, on_begin: Callable[[str], None] | None = None
) -> Iterator[Check]:
    """Yield every line, as it becomes known.

    project
        Folder whose ``features/`` is to be written.
    quick
        Leaves out what imports torch: the GPU, NVDEC and the throughput, which takes ``seconds`` and the start before.
    on_begin
        Told in a word what is looked at next.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="vadpipe-doctor-") as temporary:
            for name, look in _looks(project, Path(temporary), quick, seconds):
                if on_begin is not None:
                    on_begin(name)
                yield from tried(name, look)
    except OSError as error:
        reason = f"cannot be written ({first_line(error)})"
        yield Check("temporary folder", BROKEN, reason, "export TMPDIR=FOLDER   (one that you can write to)")


def tried(name: str, look: Look) -> list[Check]:
    """The lines of one look; an error that it does not know becomes a line."""
    try:
        found = look()
    except Exception as error:  # whatever it is, the other looks go on
        what = f"the look itself failed: {type(error).__name__}: {first_line(error)}"
        return [Check(name, WARNING, what, "report this as a defect of vadpipe doctor")]
    return [found] if isinstance(found, Check) else list(found)


def is_usable(checks: Sequence[Check]) -> bool:
    """Whether nothing is broken that everybody needs."""
    return all(check.state != BROKEN for check in checks)


def to_mapping(checks: Sequence[Check]) -> dict[str, Any]:
    """Plain values for JSON."""
    rows = [{"name": each.name, "state": each.state, "found": each.found, "fix": each.fix} for each in checks]
    return {"version": __version__, "ok": is_usable(checks), "checks": rows}


def _looks(project: Path, temporary: Path, quick: bool, seconds: float) -> Iterator[tuple[str, Look]]:
    painted = temporary / "painted.mp4"
    yield "python", doctor_machine.python
    yield "machine", doctor_machine.machine
    yield "packages", partial(doctor_packages.packages, quick=quick)
    yield "FFmpeg libraries", doctor_machine.ffmpeg_libraries
    yield "PyAV", partial(doctor_media.painted_video, painted)
    yield "decoder confinement", doctor_media.confinement
    for name in DECODERS:
        if not (quick and _imports_torch(name)):
            yield f"decoder {name}", partial(doctor_media.decoder, name, painted)
    if not quick:
        has_torchcodec = _is_installed("torchcodec")
        seen = painted if painted.is_file() else None
        yield "torch", partial(doctor_machine.accelerator, seen, has_torchcodec=has_torchcodec)
    for name in KNOWN:
        yield f"weights {name}", partial(doctor_places.weights, name)
    yield "weights cache", doctor_places.weights_folder
    yield "feature store", partial(doctor_places.store_folder, project)
    if not quick:
        yield "throughput", partial(throughput, temporary, seconds)


def _imports_torch(decoder: str) -> bool:
    return bool(DECODERS[decoder].missing)


def _is_installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


def throughput(folder: Path, seconds: float, device: str = "auto") -> Check:
    """Measure how fast video is decoded and encoded here, and say what an hour of it takes."""
    try:
        facts = ask("speed", folder, seconds, device, timeout_s=_SPEED_LIMIT_S + seconds)
        rate, stride = float(facts["frames_per_s"]), int(facts["stride"])
    except TooSlow as error:
        return Check("throughput", WARNING, f"not measured: {error}", "vadpipe doctor --quick   (leaves it out)")
    except AskError as error:  # whatever stops this, stops every extraction
        fix = "pip install --force-reinstall open_clip_torch torch torchvision"
        return Check("throughput", BROKEN, f"CLIP cannot be run: {error}", fix)
    told = f"1 hour of video at stride {stride} takes about {in_words(_HOUR_FRAMES / rate)} (25 frames/s)"
    how = f"{rate:,.0f} frames/s on {facts['name']}: 640 x 360 H.264, CLIP with random weights in float32"
    return Check("throughput", OK, f"{told}; {how}")


def in_words(seconds: float) -> str:
    """A length of time as people say it: ``40 s``, ``7 min``, ``2 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
