"""What ``vadpipe detect`` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vadpipe.errors import VideoError
from vadpipe.extractors.limits import Limits


@dataclass(frozen=True, slots=True)
class Extras:
    """Files that are wanted beside the JSON of each video.

    exports
        Names of :data:`vadpipe.pipeline.exports.EXPORTERS`.
    frames
        Scores of every frame: ``npz`` or ``csv`` for a file beside each JSON, or the path of one, for one video.
    clips, pre_roll_s, post_roll_s
        Folder for the intervals cut out of the video; seconds kept before and after each.
    overlay
        Video with the scores drawn on it; a folder for several.
    html, embed
        Page to write; whether it holds the video itself.
    annotations
        True incidents, drawn on the page; any text form of :func:`vadpipe.datasets.ground_truth.read_truth`.
    """

    exports: tuple[str, ...] = ()
    frames: str = ""
    clips: Path | None = None
    pre_roll_s: float = 2.0
    post_roll_s: float = 2.0
    overlay: Path | None = None
    html: Path | None = None
    embed: bool = False
    annotations: Path | None = None


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Name -> file of the videos, the head's run folder, and the command's options.

    student
        Run folder of the head for videos without sound; None for ``student/`` in the run folder, where there is one.
    out
        Ends in .json and names the file (of one video), or is a folder.
    weights
        As on the command line, see :func:`vadpipe.extractors.weights.parse_weights`.
    decode_device
        ``cpu`` or ``cuda``; None for that of the features that the head was trained on.
    limits
        Of each decoder.
    categories
        TOML file of own categories.
    shard
        :attr:`vadpipe.pipeline.shard.Shard.label` where these are part of more videos: in the names of files about all.
    calibration
        A file, ``none``, or empty for the one in each run folder, where there is one.
    engine, ray_address, retry_quarantined
        As of :class:`vadpipe.pipeline.extracting.run.ExtractRequest`; with Ray ``device`` is ``auto``, ``cpu`` or
        ``cuda``.
    passed_over
        Videos that are not to be decoded, and what is said of each: the run sets it from its quarantine.
    """

    videos: Mapping[str, Path]
    run: Path
    student: Path | None = None
    out: Path | None = None
    features: Path | None = None
    picture: bool = False
    overrides: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    decoder: str = "pyav"
    device: str = "cpu"
    decode_device: str | None = None
    limits: Limits = field(default_factory=Limits)
    categories: Path | None = None
    calibration: str = ""
    extras: Extras = field(default_factory=Extras)
    shard: str = ""
    engine: str = "local"
    ray_address: str | None = None
    retry_quarantined: bool = False
    passed_over: Mapping[Path, VideoError] = field(default_factory=dict)

    @property
    def here(self) -> DetectRequest:
        """The request for this process: with Ray it only checks heads, and the cluster's devices are not its own."""
        return self if self.engine == "local" else replace(self, device="cpu")
