"""Settings of a run: frozen dataclasses are schema and defaults; TOML files and ``--set a.b=c`` fill them in.

An unknown key, a wrong type or a value out of range is an error that names the key. No inheritance, no templating.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vadpipe.errors import UsageError

_Settings = TypeVar("_Settings")


def _require(condition: bool, message: str) -> None:
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
        _require(self.graph in ("cosine", "vadclip"), f"model.graph: got {self.graph!r}, expected cosine or vadclip")
        _require(
            self.standardise in ("none", "columns", "pca"),
            f"model.standardise: got {self.standardise!r}, expected none, columns or pca",
        )
        _require(
            self.vision_only_branch or self.cross_modal_branch,
            "model: vision_only_branch and cross_modal_branch are both off; keep at least one",
        )
        _require(self.dim % self.heads == 0, f"model.heads: got {self.heads}, expected a divisor of dim {self.dim}")
        _require(0 <= self.dropout < 1 and 0 <= self.input_dropout < 1, "model: dropout must be in [0, 1)")
        _require(self.max_snippets >= 1 and self.window >= 1, "model: max_snippets and window must be at least 1")
        _require(0 < self.memory_momentum < 1, "model.memory_momentum must be between 0 and 1")
        _require(0 <= self.window_overlap < self.window, "model.window_overlap must be less than model.window")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Optimisation and selection.

    lr, weight_decay, batch_size, epochs, balanced
        AdamW; videos a step; half normal, half anomalous videos in every batch where ``balanced``.
    clip_gradients
        Largest norm of the gradient; 0 does not clip.
    average
        Decay of the exponential moving average of weights that is validated and saved; 0 switches it off.
    validation_share, select
        Share of training videos held out by a hash of their ids; ``validation`` keeps the epoch that is best there,
        ``last`` the last one, ``paper-test`` the best on the test set (the papers' habit; loud and recorded). A share
        of 0 trains on everything, for settings that were chosen before; it needs ``last``.
    """

    lr: float = 3e-5
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 10
    balanced: bool = True
    clip_gradients: float = 0.0
    average: float = 0.0
    validation_share: float = 0.2
    select: str = "validation"

    def __post_init__(self) -> None:
        _require(self.lr > 0 and self.weight_decay >= 0, "train: lr must be positive, weight_decay not negative")
        _require(self.batch_size >= 1 and self.epochs >= 1, "train: batch_size and epochs must be at least 1")
        _require(0 <= self.average < 1, f"train.average: got {self.average}, expected 0 … <1")
        _require(0 <= self.validation_share < 1, "train.validation_share must be at least 0 and less than 1")
        _require(
            self.validation_share > 0 or self.select == "last",
            "train.validation_share = 0 leaves nothing to select on; set train.select = 'last' with it",
        )
        _require(
            self.select in ("validation", "last", "paper-test"),
            f"train.select: got {self.select!r}, expected validation, last or paper-test",
        )


@dataclass(frozen=True, slots=True)
class DetectConfig:
    """How scores become intervals (LEC-VAD, Inference).

    r_cls, r_ano
        Thresholds on a category's video-level activation and on a snippet's class probability (at least 1 / classes).
    nms_iou
        Temporal NMS within a category. window: snippets scored at once.
    """

    r_cls: float = 0.1
    r_ano: float = 0.2
    nms_iou: float = 0.5
    window: int = 256

    def __post_init__(self) -> None:
        for name in ("r_cls", "r_ano", "nms_iou"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"detect.{name}: got {value}, expected 0 … 1")
        _require(self.window >= 1, "detect.window must be at least 1")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that ``vadpipe train`` can be told, apart from where data is and the seed."""

    head: str = "lec_vad"
    stream: str = "clip"
    classes: tuple[str, ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    prompt_template: str = "{}"
    model: LecVadConfig = field(default_factory=LecVadConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)

    def __post_init__(self) -> None:
        _require("{}" in self.prompt_template, "prompt_template must hold {} where the class name goes")
        _require(
            not self.model.positions or self.detect.window <= self.model.max_snippets,
            f"detect.window: got {self.detect.window}, expected at most model.max_snippets, {self.model.max_snippets}",
        )


def to_mapping(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dicts, lists and numbers, for JSON."""
    return asdict(settings)


def from_mapping(kind: type[_Settings], values: Mapping[str, Any], prefix: str = "") -> _Settings:
    """Build a settings dataclass from parsed TOML or JSON; :class:`UsageError` names the offending key."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]  # _Settings is always a dataclass here
    for key in values:
        _require(key in known, f"unknown setting {prefix}{key}; known here: {', '.join(sorted(known))}")
    return kind(**{key: _convert(value, hints[key], f"{prefix}{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, key: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        _require(isinstance(value, Mapping), f"{key}: got {value!r}, expected a table")
        return from_mapping(hint, value, f"{key}.")
    origin = get_origin(hint)
    if origin is tuple:
        _require(isinstance(value, list | tuple), f"{key}: got {value!r}, expected a list")
        return tuple(_convert(item, get_args(hint)[0], key) for item in value)
    if origin is dict:
        _require(isinstance(value, Mapping), f"{key}: got {value!r}, expected a table")
        return {str(name): _convert(item, get_args(hint)[1], f"{key}.{name}") for name, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    _require(type(value) is hint, f"{key}: got {value!r}, expected {getattr(hint, '__name__', hint)}")
    return value


def load_config(path: Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a TOML file (or nothing) and apply ``a.b=c`` overrides, each value in TOML's notation or a bare word."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"config file {path} does not exist") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"config file {path}: {error}") from error
    for override in overrides:
        _apply(values, override)
    return from_mapping(RunConfig, values)


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    _require(bool(separator and key.strip()), f"--set {override}: expected KEY=VALUE, for example train.epochs=20")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    place: dict[str, Any] = values
    for name in tables:
        nested = place.setdefault(name, {})
        _require(isinstance(nested, dict), f"--set {override}: {name} is not a table")
        place = nested
    place[last] = value
