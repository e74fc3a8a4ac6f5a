"""``--clips``: each interval of a detection as a video file of its own. How and how exactly: docs/clips.md."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from vadpipe.detection import Detection
from vadpipe.errors import DecoderCrashed, UsageError
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media_task import Appearing, MediaTask
from vadpipe.tracks import Interval

_DIGEST_DIGITS = 8
_ID_BYTES, _CATEGORY_BYTES = 100, 60  # a file name has 255 at most, and the temporary one is longer


def cut_clips(
    path: Path,
    detection: Detection,
    folder: Path,
    *,
    pre_s: float = 2.0,
    post_s: float = 2.0,
    limits: Limits | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write an MP4 file into ``folder`` for each interval of ``detection``, and give them in that order.

    Each begins ``pre_s`` seconds before its interval and ends ``post_s`` after it, as far as the video reaches; clips
    may overlap. Packets are copied where that is possible, else encoded (:mod:`vadpipe.extractors.tasks.cut`). The
    folder is made where it is missing; a clip of the same name is replaced. ``on_clip`` is told (done, all).

    Files appear under their names once they are whole; those that are finished stay where a later one fails. Errors:
    UsageError (no such video, a folder that cannot be written), and every :class:`vadpipe.errors.VideoError`.
    """
    for name, value in (("pre_s", pre_s), ("post_s", post_s)):
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"{name}: got {value}, expected seconds, 0 or more")
    if not detection.intervals:
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: it cannot be made ({error.strerror}). Give another folder.") from error
    files: list[Appearing] = []
    try:
        cuts = []
        for number, interval in enumerate(detection.intervals, 1):
            out = folder / clip_name(detection.clip.id, number, interval, detection.note(interval.category))
            files.append(Appearing(out, path))
            start_s = max(interval.start_s - pre_s, 0.0)
            end_s = min(interval.end_s + post_s, max(detection.clip.duration_s, interval.end_s))
            title = f"{detection.clip.id}: {detection.shown(interval.category)}"
            cuts.append((start_s, end_s, str(files[-1].temporary.absolute()), str(out), title))
        return _cut(path, cuts, files, limits, on_clip)
    finally:
        for file in files:
            file.discard()


def clip_name(video_id: str, number: int, interval: Interval, note: str = "") -> str:
    """``<id>_<nn>_<category>_<start>-<end>.mp4``, seconds of the interval; id and category made safe for a file name.

    Letters and digits of any script stay, and ``-``, ``_`` and ``.``; all else becomes ``-``, and long names are cut. A
    part that is changed so ends in ``-`` and 8 hexadecimal digits of the SHA-256 of what it was. The ``note`` of a
    category, :meth:`Detection.note`, follows it.
    """
    parts = [_safe(video_id, _ID_BYTES), f"{number:02d}", _safe(interval.category, _CATEGORY_BYTES)]
    if note:
        parts.append("-".join(re.findall(r"[\w-]+", note)))
    return f"{'_'.join(parts)}_{interval.start_s:.1f}-{interval.end_s:.1f}.mp4"


def _cut(
    path: Path,
    cuts: list[tuple[float, float, str, str, str]],
    files: list[Appearing],
    limits: Limits | None,
    on_clip: Callable[[int, int], None] | None,
) -> list[Path]:
    done: list[Path] = []
    with MediaTask("cut", path, limits, cuts=cuts) as task:
        for _ in task:
            with task.checking():
                file = files[len(done)]
            done.append(file.settle())
            if on_clip is not None:
                on_clip(len(done), len(cuts))
    if len(done) != len(cuts):
        raise DecoderCrashed(f"{path}: {len(done)} of {len(cuts)} clips were written.")
    return done


def _safe(text: str, most_bytes: int) -> str:
    """A part of a file name; one that is not the text itself ends in a digest of it, so that two texts stay two."""
    normal = unicodedata.normalize("NFC", text)
    kept = "".join(c if c in "-_." or unicodedata.category(c)[0] in "LNM" else "-" for c in normal)
    name = kept.encode()[:most_bytes].decode(errors="ignore").lstrip(".-")
    if name == text:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    short = name.encode()[: most_bytes - _DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{short or 'unnamed'}-{digest}"
