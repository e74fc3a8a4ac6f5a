"""Which part of the videos a command takes when several machines share them: ``--shard``, or what a scheduler says.

The shard of a video follows from a digest of its id alone. Its place in the list would not do: tasks of an array start
hours apart, files arrive meanwhile, and then a place means another video in each task; some would be taken by nobody.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vadpipe.errors import UsageError
from vadpipe.manifest import video_id

_EXPECTED = "expected i/N with 0 <= i < N, auto/N, or none"
_GIVEN = re.compile(r"(auto|[0-9]{1,9})/([0-9]{1,9})")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SLURM = "SLURM_ARRAY_TASK_"
_KUBERNETES = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 0) of ``count``. :class:`UsageError` unless 0 <= index < count.

    ``by`` is the variable of a scheduler that decided it, where nobody said anything.
    """

    index: int
    count: int
    by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"--shard: got {self.index}/{self.count}, {_EXPECTED}; i counts from 0")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def label(self) -> str:
        """What stands in names of files, e.g. ``shard-3-of-64``."""
        return f"shard-{self.index}-of-{self.count}"

    def holds(self, name: str) -> bool:
        """Whether the video of this id belongs to it."""
        return shard_index(name, self.count) == self.index

    def videos(self, found: Mapping[str, Path]) -> dict[str, Path]:
        """Those of ``found`` that belong to it, by the ids of the files: files with one id are never parted."""
        return {name: path for name, path in found.items() if self.holds(video_id(path))}

    def say_taken(self, taken: int, found: int, say: Callable[[str], None]) -> None:
        """Say how many of the videos a shard that nobody typed takes.

        A warning: an array whose tasks have videos of their own loses those that its tasks do not take.
        """
        if self.by:
            said = f"warning: takes {taken} of {found} videos: shard {self} by {self.by}; all tasks of the array must "
            say(said + "be given the same videos; --shard none takes all")

    def refused(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Path -> reason of the files that have no id and that it reports, by their own names: one shard for each."""
        return {path: reason for path, reason in reasons.items() if self.holds(Path(path).name)}


def shard_index(name: str, count: int) -> int:
    """The shard, of ``count``, that a video of this id belongs to; the same on every machine and in every version."""
    digest = hashlib.sha256(b"vadpipe.shard/1\0" + name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count


def choose_shard(
    text: str | None, places: Sequence[Path], environ: Mapping[str, str], say: Callable[[str], None]
) -> Shard | None:
    """The shard that a command takes; None for all videos.

    text
        ``i/N``, ``auto/N`` (i from the scheduler), ``none``, or None where the user says nothing: then a Slurm array
        decides, which :meth:`Shard.say_taken` says, unless ``places`` is exactly one file: that is an array with a
        video for each task. ``say`` hears of a scheduler whose variables are not enough.

    :class:`UsageError` for another text, for ``auto`` without a scheduler, and where a scheduler's numbers do not tell.
    """
    if text == "none":
        return None
    if text is not None:
        return _given(text, environ)
    if len(places) == 1 and _is_file(places[0]):
        return None
    if f"{_SLURM}ID" in environ:
        shard = _of_slurm(environ)
        return replace(shard, by=f"{_SLURM}ID") if shard.count > 1 else None
    if _KUBERNETES in environ:
        say(f"note: {_KUBERNETES} is set, but not of how many, so all videos are taken; --shard auto/N parts them")
    return None


def _given(text: str, environ: Mapping[str, str]) -> Shard:
    found = _GIVEN.fullmatch(text)
    if found is None:
        raise UsageError(f"--shard: got {text!r:.80}, {_EXPECTED}")
    count = int(found[2])
    if count < 1:
        raise UsageError(f"--shard: got {text}, expected N of at least 1; {_EXPECTED}")
    if found[1] != "auto":
        return Shard(int(found[1]), count)
    if f"{_SLURM}ID" in environ:
        shard = _of_slurm(environ)
        if shard.count != count:
            raise UsageError(f"--shard {text}: the array has {shard.count} tasks ({_SLURM}COUNT), not {count}; for "
                             f"some tasks of a larger array say --shard i/{count}")  # fmt: skip
        return shard
    if _KUBERNETES not in environ:
        raise UsageError(f"--shard {text}: neither {_SLURM}ID nor {_KUBERNETES} is set; say --shard i/{count}")
    index = _number(environ, _KUBERNETES)
    if index >= count:
        raise UsageError(f"--shard {text}: {_KUBERNETES} is {index}, expected less than {count}, the job's completions")
    return Shard(index, count)


def _of_slurm(environ: Mapping[str, str]) -> Shard:
    """Part of an array that starts anywhere and goes in any steps; of a list such as 1,5,7 nothing can be told."""
    number, count, least, most = (_number(environ, f"{_SLURM}{name}") for name in ("ID", "COUNT", "MIN", "MAX"))
    step = _number(environ, f"{_SLURM}STEP") if f"{_SLURM}STEP" in environ else 1
    index, rest = divmod(number - least, max(step, 1))
    if step < 1 or rest or not least <= number <= most or (most - least) // step + 1 != count:
        told = f"{_SLURM}ID={number}, COUNT={count}, MIN={least}, MAX={most}, STEP={step}"
        raise UsageError(f"{told}: not an array of equal steps, so it does not tell the shard; say --shard i/N")
    return Shard(index, count)


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name)
    if value is None or not _NUMBER.fullmatch(value):
        got = "it is not set" if value is None else f"got {value!r:.80}"
        raise UsageError(f"{name}: {got}, expected a number; say --shard i/N, or --shard none for all videos")
    return int(value)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # whoever reads it says why
        return False
