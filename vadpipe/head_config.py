"""Settings of the heads: frozen dataclasses, schema and defaults in one; registered in :data:`HEAD_CONFIGS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from vadpipe.errors import UsageError


class HeadConfig(Protocol):
    """What the settings of every head have.

    dim, max_snippets
        Width; longer videos are averaged to so many snippets in training.
    standardise
        ``none``, ``columns`` or ``pca``: what is done to the input features from the training set's statistics.
    """

    @property
    def dim(self) -> int:
        """Width."""

    @property
    def max_snippets(self) -> int:
        """Snippets of a bag at most."""

    @property
    def standardise(self) -> str:
        """``none``, ``columns`` or ``pca``."""

    @property
    def uses_audio(self) -> bool:
        """True where the head also takes the audio stream."""


def require(condition: bool, message: str) -> None:
    """Raise :class:`UsageError` unless ``condition``."""
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True, slots=True)
class LecVadConfig:
    """LEC-VAD's architecture and loss switches; each row of the paper's tables is one of these.

    dim, local_layers, heads, window, window_overlap
        Width and local transformer (eq. 1's X_l): equal windows of ``window`` snippets.
    max_snippets
        Longer videos are averaged to so many snippets in training; also the number of learned positions.
    graph, residual, positions
        ``cosine`` (eq. 1) or ``vadclip``; keep X_l beside the graph's output; add learned snippet positions.
    dropout, input_dropout
        Inside the transformers; on the input features.
    standardise
        ``none``; ``columns``: subtract each column's mean over the training snippets and divide by its deviation;
        ``pca``: the ``dim`` first principal components of the training snippets, scaled to CLIP's mean norm of 10, in
        place of a learned projection (for few videos).
    vision_only_branch, cross_modal_branch
        VOB and CMB of Table 5. vision_prompt, memory_bank: VAP and PMB of Table 7.
    memory_blocks, memory_momentum
        m and eta (Figure 5, eq. 11).
    gmm_beta, gmm_include_normal, lambda_gmm, gamma_reg
        Gaussian mixture prior and the weights of eqs. 8 and 9 (Table 6: 0 switches off).
    tau, literal_agnostic, zero_init
        Temperature of eq. 7; literal eq. 3; zero start of the two scoring layers.
    """

    dim: int = 512
    local_layers: int = 1
    heads: int = 8
    window: int = 8
    window_overlap: int = 0
    graph: str = "cosine"
    residual: bool = True
    positions: bool = True
    dropout: float = 0.1
    input_dropout: float = 0.0
    standardise: str = "none"
    vision_only_branch: bool = True
    cross_modal_branch: bool = True
    vision_prompt: bool = True
    memory_bank: bool = True
    memory_blocks: int = 4
    memory_momentum: float = 0.99
    gmm_beta: float = 0.7
    gmm_include_normal: bool = False
    lambda_gmm: float = 0.3
    gamma_reg: float = 1e-4
    tau: float = 0.07
    literal_agnostic: bool = False
    zero_init: bool = True
    max_snippets: int = 256

    def __post_init__(self) -> None:
        require(self.graph in ("cosine", "vadclip"), f"model.graph: got {self.graph!r}, expected cosine or vadclip")
        require(
            self.standardise in ("none", "columns", "pca"),
            f"model.standardise: got {self.standardise!r}, expected none, columns or pca",
        )
        require(
            self.vision_only_branch or self.cross_modal_branch,
            "model: vision_only_branch and cross_modal_branch are both off; keep at least one",
        )
        require(self.dim % self.heads == 0, f"model.heads: got {self.heads}, expected a divisor of dim {self.dim}")
        require(0 <= self.dropout < 1 and 0 <= self.input_dropout < 1, "model: dropout must be in [0, 1)")
        require(self.max_snippets >= 1 and self.window >= 1, "model: max_snippets and window must be at least 1")
        require(0 < self.memory_momentum < 1, "model.memory_momentum must be between 0 and 1")
        require(0 <= self.window_overlap < self.window, "model.window_overlap must be less than model.window")

    @property
    def uses_audio(self) -> bool:
        """LEC-VAD looks at the picture only."""
        return False


HEAD_CONFIGS: Mapping[str, type[HeadConfig]] = MappingProxyType({"lec_vad": LecVadConfig})
"""Head name -> its settings class; the heads themselves are in :data:`vadpipe.models.heads.HEADS`."""
