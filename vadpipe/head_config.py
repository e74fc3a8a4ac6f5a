"""Settings of the heads: frozen dataclasses, schema and defaults in one; registered in :data:`HEAD_CONFIGS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from vadpipe.errors import UsageError

MOST_LAYERS = 64


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


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless setting ``model.<name>`` has one of the known values."""
    require(value in known, f"model.{name}: got {value!r:.80}, expected {', '.join(known[:-1])} or {known[-1]}")


def is_depth(name: str, value: int) -> None:
    """Raise :class:`UsageError` unless setting ``model.<name>`` is a sane number of layers.

    The bound is for settings from elsewhere: a checkpoint is built before it is compared with its file.
    """
    require(1 <= value <= MOST_LAYERS, f"model.{name}: got {value}, expected 1 … {MOST_LAYERS}")


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
        require(self.graph in ("cosine", "vadclip"), f"model.graph: got {self.graph!r:.80}, expected cosine or vadclip")
        require(
            self.standardise in ("none", "columns", "pca"),
            f"model.standardise: got {self.standardise!r:.80}, expected none, columns or pca",
        )
        require(
            self.vision_only_branch or self.cross_modal_branch,
            "model: vision_only_branch and cross_modal_branch are both off; keep at least one",
        )
        require(self.dim >= 1, f"model.dim: got {self.dim}, expected at least 1")
        require(
            self.heads >= 1 and self.dim % self.heads == 0,
            f"model.heads: got {self.heads}, expected a divisor of dim {self.dim}",
        )
        is_depth("local_layers", self.local_layers)
        is_depth("memory_blocks", self.memory_blocks)
        require(self.tau > 0, f"model.tau: got {self.tau}, expected more than 0")
        for name in ("lambda_gmm", "gamma_reg"):
            require(getattr(self, name) >= 0, f"model.{name}: got {getattr(self, name)}, expected 0 (off) or more")
        require(0 <= self.dropout < 1 and 0 <= self.input_dropout < 1, "model: dropout must be in [0, 1)")
        require(self.max_snippets >= 1 and self.window >= 1, "model: max_snippets and window must be at least 1")
        require(0 < self.memory_momentum < 1, "model.memory_momentum must be between 0 and 1")
        require(0 <= self.window_overlap < self.window, "model.window_overlap must be less than model.window")

    @property
    def uses_audio(self) -> bool:
        """LEC-VAD looks at the picture only."""
        return False


@dataclass(frozen=True, slots=True)
class TwoBranchConfig:
    """What VadCLIP, AVadCLIP and its student share: video path, class prompts, the two branches.

    dim, layers, heads, window
        Width, that of CLIP's text features; transformer blocks, attention heads, snippets in a window.
    max_snippets
        Longer videos are averaged to so many snippets in training; also the number of learned positions.
    padding
        ``masked``: padding changes nothing. ``released``: as the released code, which pads every video with zeros to
        ``max_snippets`` and lets them take part; for checkpoints that were trained so.
    score
        Which branch the anomaly score comes from: ``binary`` or ``alignment`` (1 - p_normal).
    prompt_prefix, prompt_postfix
        Learned vectors before and after a class name.
    tau, text_weight
        Temperature of the alignment map; weight of the loss that keeps normal and anomaly classes apart.
    standardise, input_dropout
        As for LEC-VAD. Features of another width than ``dim`` get a learned projection or, with ``pca``, principal
        components.
    zero_init, gate, residual
        Departures from the released models, for little data: the binary classifier starts at zero; then also the
        alignment map has a weight that is learned from 0 (``gate`` counts with ``zero_init`` only, which is worse
        without it); the input features are added to the video path's output.
    """

    dim: int = 512
    layers: int = 2
    heads: int = 1
    window: int = 8
    max_snippets: int = 256
    padding: str = "masked"
    score: str = "binary"
    prompt_prefix: int = 10
    prompt_postfix: int = 10
    tau: float = 0.07
    text_weight: float = 0.1
    standardise: str = "none"
    input_dropout: float = 0.0
    zero_init: bool = True
    gate: bool = True
    residual: bool = False

    def __post_init__(self) -> None:
        one_of("padding", self.padding, ("masked", "released"))
        one_of("score", self.score, ("binary", "alignment"))
        one_of("standardise", self.standardise, ("none", "columns", "pca"))
        require(self.dim >= 2 and self.dim % 2 == 0, f"model.dim: got {self.dim}, expected an even number")
        require(
            self.heads >= 1 and self.dim % self.heads == 0,
            f"model.heads: got {self.heads}, expected a divisor of dim {self.dim}",
        )
        is_depth("layers", self.layers)
        require(self.max_snippets >= 1 and self.window >= 1, "model: max_snippets and window must be at least 1")
        require(
            self.prompt_prefix >= 0 and self.prompt_postfix >= 0 and self.prompt_prefix + self.prompt_postfix <= 74,
            "model: prompt_prefix and prompt_postfix must leave room for a class name in 77 tokens",
        )
        require(self.tau > 0 and self.text_weight >= 0, "model: tau must be positive, text_weight not negative")
        require(0 <= self.input_dropout < 1, "model.input_dropout must be in [0, 1)")


@dataclass(frozen=True, slots=True)
class VadClipConfig(TwoBranchConfig):
    """VadCLIP (AAAI 2024): the defaults are its UCF-Crime configuration.

    XD-Violence: ``layers = 1``, ``window = 64``, ``score = "alignment"``, ``text_weight = 1e-4``.
    """

    @property
    def uses_audio(self) -> bool:
        """VadCLIP looks at the picture only."""
        return False


@dataclass(frozen=True, slots=True)
class AVadClipConfig(TwoBranchConfig):
    """AVadCLIP's audio-visual model, the teacher; rows of Tables 4 and 5 are these switches.

    modality
        ``audio_visual``, ``visual`` (no fusion) or ``audio`` (the audio path alone).
    fusion
        ``adaptive`` (eqs. 1-3), ``concat`` (and a linear layer), ``add`` or ``cross_attention``.
    av_prompt, focal
        Class features get the video's own vector (eqs. 4-7); L_FOCAL beside L_NCE.
    audio_dropout
        In the temporal convolution net.
    """

    window: int = 4
    score: str = "alignment"
    text_weight: float = 1e-4
    modality: str = "audio_visual"
    fusion: str = "adaptive"
    av_prompt: bool = True
    focal: bool = True
    audio_dropout: float = 0.1

    def __post_init__(self) -> None:
        TwoBranchConfig.__post_init__(self)
        one_of("modality", self.modality, ("audio_visual", "visual", "audio"))
        one_of("fusion", self.fusion, ("adaptive", "concat", "add", "cross_attention"))
        require(0 <= self.audio_dropout < 1, "model.audio_dropout must be in [0, 1)")

    @property
    def uses_audio(self) -> bool:
        """False for ``modality = "visual"`` only."""
        return self.modality != "visual"


@dataclass(frozen=True, slots=True)
class AVadClipStudentConfig(TwoBranchConfig):
    """AVadCLIP's student: one modality, taught by the audio-visual model (Table 6).

    modality
        ``visual`` or ``audio``: the stream that the same network is fed with.
    av_prompt, focal
        As in the teacher.
    distill, distill_weight
        ``ukd`` (eq. 11), ``mse`` or ``none``; its weight in the loss. For ``ukd`` keep the released 1e-8: L_UKD is
        large, because the released log-variance is minus the features plus a branch. On planted data 1e-8 was neutral
        to slightly positive, 1e-4 hurt, 1e-2 and above collapsed the features. ``mse`` takes 0.01 to 1.
    """

    layers: int = 1
    window: int = 64
    score: str = "alignment"
    text_weight: float = 1e-4
    modality: str = "visual"
    av_prompt: bool = True
    focal: bool = True
    distill: str = "ukd"
    distill_weight: float = 1e-8

    def __post_init__(self) -> None:
        TwoBranchConfig.__post_init__(self)
        one_of("modality", self.modality, ("visual", "audio"))
        one_of("distill", self.distill, ("ukd", "mse", "none"))
        require(self.distill_weight >= 0, "model.distill_weight must not be negative")

    @property
    def uses_audio(self) -> bool:
        """True for the audio student only; the teacher's audio is the teacher's affair."""
        return self.modality == "audio"


HEAD_CONFIGS: Mapping[str, type[HeadConfig]] = MappingProxyType(
    {
        "lec_vad": LecVadConfig,
        "vadclip": VadClipConfig,
        "avadclip": AVadClipConfig,
        "avadclip_student": AVadClipStudentConfig,
    }
)
"""Head name -> its settings class; the heads themselves are in :data:`vadpipe.models.heads.HEADS`."""
