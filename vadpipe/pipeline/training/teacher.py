"""A trained head that teaches another one: frozen, and fed with the same videos in both of its streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vadpipe.config import RunConfig
from vadpipe.errors import SpecMismatch, UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.training.bags import Bags, Batch
from vadpipe.spec import FeatureSpec


def load_teacher(run: Path, config: RunConfig, device: str = "cpu") -> TrainedHead:
    """Load the run that is to teach a head of ``config``; :class:`UsageError` where that takes no teacher."""
    if getattr(config.model, "distill", "none") == "none":
        raise UsageError(
            f"--teacher: {config.head} with these settings learns from no teacher; leave it out"
            + ("" if hasattr(config.model, "distill") else ", or train a student, such as --head avadclip-student")
        )
    trained = load_head(run, device)
    if config.model.max_snippets > trained.config.model.max_snippets:
        raise UsageError(
            f"model.max_snippets: got {config.model.max_snippets}, but the teacher {run} takes at most "
            f"{trained.config.model.max_snippets}"
        )
    padding = getattr(config.model, "padding", "masked"), getattr(trained.config.model, "padding", "masked")
    if padding == ("released", "masked"):
        raise UsageError("model.padding: got 'released', but the teacher leaves padding out; take masked")
    return trained


def check_teacher(
    trained: TrainedHead, classes: Sequence[str], spec: FeatureSpec, audio_spec: FeatureSpec | None
) -> None:
    """Refuse a teacher with other classes, or another picture or other sound than the student's, by digest."""
    if tuple(classes) != trained.classes:
        raise UsageError(f"--teacher: it knows {list(trained.classes)}, the student is to learn {list(classes)}")
    known = trained.spec, trained.audio_spec
    for own, taught, option in zip((spec, audio_spec), known, ("stream", "audio_stream"), strict=True):
        if own is not None and own != taught:
            raise SpecMismatch(
                f"--teacher: it was trained on {' and '.join(stream.folder for stream in known if stream)}, the "
                f"student's {option} is {own.folder}; name the teacher's"
            )


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher at work.

    trained
        The frozen head, in eval mode, on the training device.
    bags
        The student's training records, in the student's order, with the teacher's streams.
    student_audio
        Whether the student gets the teacher's audio too, and not its picture alone.
    seen
        Ids that the teacher was trained and selected on.
    """

    trained: TrainedHead
    bags: Bags
    student_audio: bool = False
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.trained.head.requires_grad_(requires_grad=False).eval()

    def for_student(self, batch: Batch) -> Batch:
        """The student's view of a batch of the teacher's."""
        return batch if self.student_audio else batch._replace(audio=None, has_audio=None)

    @torch.no_grad()
    def output(self, batch: Batch) -> Any:
        """What the teacher says about a batch of its own; without gradients, without dropout."""
        return self.trained.head(batch.video, batch.lengths, batch.audio, batch.has_audio)
