"""What every head offers, and the table of heads. A head is registered once, in :data:`HEADS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor, nn

from vadpipe.config import RunConfig
from vadpipe.errors import UsageError
from vadpipe.models.avadclip import AVadClip, AVadClipStudent
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.lec_vad import LecVad
from vadpipe.models.vadclip import VadClip


class HeadOutput(Protocol):
    """The part of a head's output that scoring reads; values at padding are meaningless."""

    @property
    def anomaly(self) -> Tensor:
        """(B, T) anomaly score in [0, 1]."""

    @property
    def categories(self) -> Tensor:
        """(B, T, C+1) class probabilities, ``normal`` first; then K more, of own categories where those were set."""


class Head(Protocol):
    """A trainable ``nn.Module`` on feature rows.

    B videos, T snippets, ``lengths`` (B,) real snippets; padding never changes a real snippet's score.
    """

    def __call__(
        self, video: Tensor, lengths: Tensor, audio: Tensor | None = None, has_audio: Tensor | None = None
    ) -> Any:
        """Score features (B, T, D): a :class:`HeadOutput`.

        audio (B, T, Da) goes with heads that use audio, which raise ValueError without it: a snippet without sound is
        zeros there and False in ``has_audio`` bool (B, T), or (B,) for whole videos; None for sound everywhere.
        """

    def loss(self, out: Any, targets: Tensor, lengths: Tensor, teacher: Any = None) -> dict[str, Tensor]:
        """Scalar losses of an output, ``total`` among them; targets (B, C+1) multi-hot.

        Each is a mean over videos or does not depend on them, so that micro-batches weighted by their number of videos
        give the loss of the whole batch. ``teacher``: the teacher's output for the same batch, for students.
        """

    def begin_step(self) -> None:
        """Prepare an optimiser step, once before its first micro-batch: what does not depend on the videos."""

    def end_step(self) -> None:
        """Finish the gradients, once after the last micro-batch's backward pass."""

    def step_sums(self, out: Any) -> Tensor | None:
        """Sum over the videos of what :meth:`after_step` needs, detached; None if that is nothing."""

    def after_step(self, mean: Tensor | None) -> None:
        """Update what no gradient reaches, once per step; ``mean`` of :meth:`step_sums` over all its videos."""

    @property
    def alignment_reach(self) -> float:
        """Highest logit of the text alignment there can be; 0 and less where own categories cannot be scored."""

    @property
    def own_count(self) -> int:
        """K, own categories that were set."""

    def set_own_categories(self, text: Tensor) -> None:
        """Also score categories that it was not trained on, by their text features (K, d); changes no trained one."""

    def set_statistics(self, stream: str, mean: Tensor, covariance: Tensor) -> None:
        """Take the training features' mean (D,) and covariance (D, D), float64, of stream ``video`` or ``audio``."""


HEADS: Mapping[str, Callable[[Any, HeadInputs], nn.Module]] = MappingProxyType(
    {"lec_vad": LecVad, "vadclip": VadClip, "avadclip": AVadClip, "avadclip_student": AVadClipStudent}
)
"""Name -> what builds the head: ``HEADS[name](settings, inputs)``."""


def build_head(config: RunConfig, inputs: HeadInputs) -> Any:
    """Build the head that ``config.head`` names, untrained; :class:`UsageError` for an unknown name."""
    if config.head not in HEADS:
        raise UsageError(f"head: got {config.head!r}, expected one of {', '.join(HEADS)}")
    return HEADS[config.head](config.model, inputs)
