"""Where ``vadpipe detect`` writes: every file's place is known, and refused where it would harm, before any work."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from vadpipe.errors import UsageError
from vadpipe.manifest import MEDIA_SUFFIXES
from vadpipe.pipeline.detecting.request import Extras
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.pages.media import check_embeddable
from vadpipe.pipeline.videos import looking_at

FRAME_FORMS = ("npz", "csv")
_MOST_NAME_BYTES = 180  # file systems take 255, and suffixes follow
_REPORT_SUFFIX = ".intervals.json"
_OF_SHARD = re.compile(r"\.shard-[0-9]+-of-([0-9]+)\.")


class Places:
    """The files of one run, by the names of its videos. :class:`UsageError` where they cannot be written so.

    No file is one of the videos or of the ``guarded`` (what it is, file), no two files are one, and every file lies
    directly in a folder that the user named.
    """

    def __init__(
        self,
        videos: Mapping[str, Path],
        out: Path | None,
        extras: Extras,
        picture: bool = False,
        guarded: Iterable[tuple[str, Path]] = (),
        shard: str = "",
    ) -> None:
        self._names, self._out, self._extras, self._picture = tuple(videos), out, extras, picture
        self._numbers = {name: number for number, name in enumerate(videos)}
        self._shard = f".{shard}" if shard else ""
        self._several = len(videos) > 1 or bool(shard)  # a shard may hold one by chance; names must not tell that
        self._check_options()
        self._check_files(videos, guarded)
        if extras.embed and not self._several:
            check_embeddable(next(iter(videos.values())))  # of several, the report refers to what is too large

    @property
    def folder(self) -> Path:
        """Where the first JSON goes; there once it is written."""
        return self.report(self._names[0]).parent if self._names else Path()

    @property
    def is_shard(self) -> bool:
        """Whether the videos are a shard's."""
        return bool(self._shard)

    def of_other_divisions(self) -> list[Path]:
        """Files about all videos of shards of another count, where this shard's will lie; sorted.

        Whoever joined all that is there would count videos twice.
        """
        if not self._shard or not self._names:
            return []
        own = self._shard.rpartition("-of-")[2]
        kinds = [self.report(self._names[0]).with_name("detections"), *filter(None, [self._extras.html])]
        found = [
            path
            for kind in kinds
            for path in kind.parent.glob(f"{glob.escape(kind.stem)}.shard-*-of-*.*")
            if (told := _OF_SHARD.search(path.name)) is not None and told[1] != own
        ]
        return sorted(found)

    def number(self, name: str) -> int:
        """The place of a video in the order given."""
        return self._numbers[name]

    def report(self, name: str) -> Path:
        """The JSON: ``out`` itself where it ends in .json, else a file named after the video in it."""
        several, out = self._several, self._out
        if out is None:
            return Path("detections") / f"{file_name(name)}.json" if several else Path(file_name(name) + _REPORT_SUFFIX)
        if out.suffix.lower() != ".json":
            return out / f"{file_name(name)}.json"
        if several:
            raise UsageError(f"--out {out}: {self._told()} need a folder")
        return out

    def beside(self, name: str, suffix: str) -> Path:
        """A file beside the JSON, of its name with another suffix."""
        report = self.report(name)
        stem = report.name.removesuffix(_REPORT_SUFFIX)
        return report.with_name((stem if stem != report.name else report.stem) + suffix)

    def of_all(self, suffix: str) -> Path:
        """A file about all videos: beside the JSON of one, or in the folder of several; a shard's has its name."""
        if not self._several:
            return self.beside(self._names[0], suffix)
        return self.report(self._names[0]).with_name(f"detections{self._shard}{suffix}")

    def page(self) -> Path | None:
        """The page to look at, where it is wanted; that of a shard has the shard in its name."""
        page = self._extras.html
        return page if page is None or not self._shard else page.with_name(f"{page.stem}{self._shard}{page.suffix}")

    def frames(self, name: str) -> Path | None:
        """Scores of every frame, where they are wanted."""
        wanted = self._extras.frames
        if wanted in FRAME_FORMS:
            return self.beside(name, f".frames.{wanted}")
        return Path(wanted) if wanted else None

    def overlay(self, name: str) -> Path | None:
        """The video with its scores drawn on it, where it is wanted."""
        out = self._extras.overlay
        if out is None or (not self._several and out.suffix.lower() == ".mp4" and not _is_folder(out)):
            return out
        return out / f"{file_name(name)}.mp4"

    def _told(self) -> str:
        return "the videos of a shard" if self._shard else f"{len(self._names)} videos"

    def _check_options(self) -> None:
        extras, several = self._extras, self._several
        if unknown := [name for name in extras.exports if name not in EXPORTERS]:
            raise UsageError(f"--export {unknown[0]}: expected one of {', '.join(EXPORTERS)}")
        if extras.frames and extras.frames not in FRAME_FORMS:
            if Path(extras.frames).suffix.lower() not in (".npz", ".csv"):
                raise UsageError(f"--frames {extras.frames}: expected a name that ends in .npz or .csv, or npz or csv")
            if several:
                raise UsageError(f"--frames {extras.frames}: one file for {self._told()}; say npz or csv")
        if extras.overlay is not None and several and extras.overlay.suffix.lower() in MEDIA_SUFFIXES:
            raise UsageError(f"--overlay {extras.overlay}: {self._told()} need a folder")
        if extras.overlay is not None and extras.overlay.suffix.lower() in MEDIA_SUFFIXES - {".mp4"}:
            raise UsageError(f"--overlay {extras.overlay}: expected a name that ends in .mp4, or a folder")
        if extras.html is not None and extras.html.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"--html {extras.html}: expected a name that ends in .html")
        if extras.html is None and extras.embed:
            raise UsageError("--embed puts the video into the page; pass --html with it")
        if extras.html is None and extras.annotations is not None:
            raise UsageError("--annotations are drawn in the page; pass --html with them")
        if extras.annotations is not None:
            with looking_at(f"--annotations {extras.annotations}"):
                is_there = extras.annotations.is_file()
            if not is_there:
                raise UsageError(f"--annotations {extras.annotations}: no such file")

    def _check_files(self, videos: Mapping[str, Path], guarded: Iterable[tuple[str, Path]]) -> None:
        read = [*guarded, *(("the video", path) for path in videos.values())]
        inputs = {key: given for given in read for key in _keys(given[1])}
        taken: dict[Path, str] = {}
        for option, path in self._files():
            with looking_at(f"{option} {path}"):
                _check_folder(option, path)
            place = _place(path)
            if (found := next((inputs[key] for key in (place, _inode(path)) if key in inputs), None)) is not None:
                raise UsageError(f"{option}: {path} is {found[0]} ({found[1]}), which is read and never overwritten; "
                                 "give another place")  # fmt: skip
            if place in taken:
                raise UsageError(f"{taken[place]} and {option} are the same file, {path}; give each its own")
            taken[place] = option
        clips = self._extras.clips
        if clips is not None and any(_place(path).parent == clips.resolve() for path in videos.values()):
            raise UsageError(f"--clips {clips}: videos to look at lie there, which are never overwritten; name another")

    def _files(self) -> Iterator[tuple[str, Path]]:
        """(what asks for it, file) of all that is known before the work; the names of clips are not."""
        for name in self._names:
            yield "--out", self.report(name)
            yield "the scores", self.report(name).with_name(f"{self.report(name).stem}.scores.npz")
            if self._picture:
                yield "--picture", self.report(name).with_suffix(".png")
            yield from self._exported(per_video=True, place=partial(self.beside, name))
            for option, path in (("--frames", self.frames(name)), ("--overlay", self.overlay(name))):
                if path is not None:
                    yield option, path
        for kind in self._extras.exports:
            if not EXPORTERS[kind].per_video:
                for suffix in (EXPORTERS[kind].suffix, *EXPORTERS[kind].beside):
                    yield f"--export {kind}", self.of_all(suffix)
        if (page := self.page()) is not None:
            yield "--html", page

    def _exported(self, *, per_video: bool, place: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
        for kind in self._extras.exports:
            exporter = EXPORTERS[kind]
            if exporter.per_video == per_video:
                for suffix in (exporter.suffix, *exporter.beside):
                    yield f"--export {kind}", place(suffix)


def file_name(name: str) -> str:
    """A video's name as that of a file: the name itself, cut and made unique by a digest where it is too long."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= _MOST_NAME_BYTES:
        return name
    return f"{raw[: _MOST_NAME_BYTES - 20].decode('utf-8', 'ignore')}-{hashlib.sha256(raw).hexdigest()[:12]}"


def _is_folder(path: Path) -> bool:
    with looking_at(path):
        return path.is_dir()


def _place(path: Path) -> Path:
    """The directory entry that a path names: its folder followed through links, its own name as it is."""
    return path.parent.resolve() / path.name


def _keys(path: Path) -> set[Path | tuple[int, int]]:
    """All that tells a file: its directory entry, what that leads to, and its inode, where there is one."""
    with looking_at(path):
        inode = _inode(path)
        return {_place(path), path.resolve()} | ({inode} if inode else set())


def _inode(path: Path) -> tuple[int, int] | None:
    """Tells two names of one file, such as hard links or names on a file system that knows no capitals."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _check_folder(option: str, path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{option}: {path} is a folder; give another place")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise UsageError(f"{option}: {nearest} is no folder, so {path} cannot be written")
