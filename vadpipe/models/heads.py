"""What every head offers, and the table of heads. A head is registered once, in :data:`HEADS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor, nn

from vadpipe.config import RunConfig
from vadpipe.errors import UsageError
from vadpipe.models.lec_vad import LecVad


class HeadOutput(Protocol):
    """The part of a head's output that scoring reads; values at padding are meaningless."""

    @property
    def anomaly(self) -> Tensor:
        """(B, T) anomaly score in [0, 1]."""

    @property
    def categories(self) -> Tensor:
        """(B, T, C+1) class probabilities, ``normal`` first."""


class Head(Protocol):
    """A trainable ``nn.Module`` on feature rows.

    B videos, T snippets, ``lengths`` (B,) real snippets; padding never changes a real snippet's score.
    """

    def __call__(self, video: Tensor, lengths: Tensor) -> Any:
        """Score features (B, T, D): a :class:`HeadOutput`."""

    def loss(self, out: Any, targets: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Scalar losses of an output, ``total`` among them; targets (B, C+1) multi-hot."""

    def after_step(self, out: Any) -> None:
        """Update what no gradient reaches, once per training step."""

    def set_statistics(self, mean: Tensor, covariance: Tensor) -> None:
        """Take the training features' mean (D,) and covariance (D, D), float64."""


HEADS: Mapping[str, Callable[[Any, int, Tensor], nn.Module]] = MappingProxyType({"lec_vad": LecVad})
"""Name -> class, built as ``HEADS[name](settings, feature columns, text features (C+1, dim))``."""


def build_head(config: RunConfig, input_dim: int, text: Tensor) -> Any:
    """Build the head that ``config.head`` names, untrained; :class:`UsageError` for an unknown name."""
    if config.head not in HEADS:
        raise UsageError(f"head: got {config.head!r}, expected one of {', '.join(HEADS)}")
    return HEADS[config.head](config.model, input_dim, text)
