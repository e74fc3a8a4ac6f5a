"""A trained head that looks at videos from Python: what :func:`vadpipe.load` returns. Imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vadpipe.api_given import (
    AnyPath,
    LoadOptions,
    OnProgress,
    Progress,
    check_options,
    checked_limits,
    choices,
    nobody,
    path_or_none,
)
from vadpipe.detection import Detection
from vadpipe.extractors import Extractor
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.detect import detect_video
from vadpipe.pipeline.detecting.heads import Heads, load_heads
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.detecting.run import detect_options
from vadpipe.pipeline.device import resolve_device
from vadpipe.pipeline.extract import Step
from vadpipe.pipeline.project import find_run


@dataclass(frozen=True, slots=True)
class Model:
    """A head, its student and calibration, and how it is to look at videos. Not for several threads at once."""

    request: DetectRequest
    heads: Heads
    _encoders: dict[str, Extractor] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, run: AnyPath | None, options: LoadOptions) -> Self:
        """Load and check; arguments and errors as of :func:`vadpipe.load`."""
        check_options(options)
        calibration = options.get("calibration")
        request = DetectRequest(
            {},
            find_run(path_or_none(run), Path(), "run"),
            path_or_none(options.get("student")),
            features=path_or_none(options.get("features")),
            overrides=tuple(f"{name}={value}" for name, value in options.get("settings", {}).items()),
            accept=tuple(options.get("accept", ())),
            weights=choices(options.get("weights")),
            decoder=options.get("decoder", "pyav"),
            device=resolve_device(options.get("device", "auto")),
            decode_device=options.get("decode_device"),
            limits=checked_limits(options.get("limits")),
            categories=path_or_none(options.get("categories")),
            calibration="" if calibration is None else os.fspath(calibration),
        )
        return cls(request, load_heads(request, options.get("on_note") or nobody))

    @property
    def trained(self) -> TrainedHead:
        """The head and where it comes from."""
        return self.heads.trained

    @property
    def categories(self) -> tuple[str, ...]:
        """What it tells apart, ``normal`` first; own categories last."""
        return self.trained.classes

    def detect(self, video: AnyPath, *, on_progress: OnProgress | None = None) -> Detection:
        """Find the incidents in one video; nothing is written, but for features where a store was given.

        ``on_progress`` is told of frames while features are computed. Errors: :class:`vadpipe.errors.VideoError`
        (no such file, or one that cannot be used); :class:`vadpipe.errors.UsageError` where the features that the head
        needs cannot be made; :class:`vadpipe.errors.SpecMismatch`.
        """
        path = Path(video)
        options = detect_options(self.request, self.heads, self._encoders)
        frames = shares = 0.0

        def on_step(step: Step) -> None:
            nonlocal frames, shares
            frames, shares = frames + step.frames, shares + step.videos
            if on_progress is not None:
                on_progress(Progress("frames", frames, frames / shares if shares > 0 else None))

        return detect_video(
            path,
            self.trained,
            options,
            student=self.heads.student,
            on_step=on_step,
        )
