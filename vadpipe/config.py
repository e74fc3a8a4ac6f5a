"""Settings of a run: frozen dataclasses are schema and defaults; TOML files and ``--set a.b=c`` fill them in.

An unknown key, a wrong type or a value out of range is an error that names the key. No inheritance, no templating.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vadpipe.class_names import why_no_classes
from vadpipe.errors import UsageError
from vadpipe.head_config import HEAD_CONFIGS, HeadConfig, LecVadConfig, require
from vadpipe.outside import parse_toml, read_toml

_Settings = TypeVar("_Settings")

DEFAULT_HEAD = "lec_vad"
_MOST_DOTS = 10  # of a key; settings have one, prompts one more than their class


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Optimisation and selection; docs/training.md explains them at length.

    lr, weight_decay, batch_size, epochs, balanced
        AdamW; videos a batch, over all ranks together; half normal, half anomalous videos in it where ``balanced``.
    accumulate, micro_batch
        Batches that make one step; videos that are computed at once on a rank, sorted by length, 0 for the whole batch.
        A step's gradient is the mean over its ``batch_size * accumulate`` videos, however they are cut up.
    schedule, warmup_steps
        ``constant``; ``cosine``, falling towards 0, which it would reach one step after the last; ``step``: times
        ``step_factor`` after each of ``step_epochs`` finished epochs. The rate rises linearly over the first
        ``warmup_steps`` steps.
    step_epochs, step_factor
        Of the schedule ``step``; the defaults are those of the released AVadCLIP training.
    precision
        ``float32``, or ``bf16``: networks under autocast, losses and weights in float32.
    clip_gradients
        Largest norm of the gradient; 0 does not clip.
    average
        Decay of the exponential moving average of weights that is validated and saved; 0 switches it off.
    early_stopping
        End after so many epochs in a row that brought no better figure; 0 runs all epochs.
    validation_share, select
        Share of training videos held out by a hash of their ids; ``validation`` keeps the epoch that is best there,
        ``last`` the last one, ``paper-test`` the best on the test set (the papers' habit; loud and recorded), and holds
        nothing out. A share of 0 trains on everything, for settings that were chosen before; not with ``validation``.
    """

    lr: float = 3e-5
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 10
    balanced: bool = True
    accumulate: int = 1
    micro_batch: int = 0
    schedule: str = "constant"
    step_epochs: tuple[int, ...] = (3, 6, 10)
    step_factor: float = 0.1
    warmup_steps: int = 0
    precision: str = "float32"
    clip_gradients: float = 0.0
    average: float = 0.0
    early_stopping: int = 0
    validation_share: float = 0.2
    select: str = "validation"

    def __post_init__(self) -> None:
        require(self.lr > 0 and self.weight_decay >= 0, "train: lr must be positive, weight_decay not negative")
        require(self.batch_size >= 1 and self.epochs >= 1, "train: batch_size and epochs must be at least 1")
        require(self.accumulate >= 1, f"train.accumulate: got {self.accumulate}, expected at least 1")
        for name in ("micro_batch", "warmup_steps", "clip_gradients", "early_stopping"):
            require(getattr(self, name) >= 0, f"train.{name}: got {getattr(self, name)}, expected 0 (off) or more")
        _require_one_of("train.schedule", self.schedule, ("constant", "cosine", "step"))
        require(
            0 < self.step_factor <= 1, f"train.step_factor: got {self.step_factor}, expected more than 0, at most 1"
        )
        require(
            all(epoch >= 1 for epoch in self.step_epochs) and list(self.step_epochs) == sorted(set(self.step_epochs)),
            f"train.step_epochs: got {list(self.step_epochs)}, expected rising numbers from 1",
        )
        _require_one_of("train.precision", self.precision, ("float32", "bf16"))
        require(0 <= self.average < 1, f"train.average: got {self.average}, expected 0 … <1")
        self._check_selection()

    def _check_selection(self) -> None:
        require(0 <= self.validation_share < 1, "train.validation_share must be at least 0 and less than 1")
        _require_one_of("train.select", self.select, ("validation", "last", "paper-test"))
        require(
            self.validation_share > 0 or self.select != "validation",
            "train.validation_share = 0 leaves nothing to select on; set train.select = 'last' with it",
        )
        require(
            self.early_stopping == 0 or self.select != "last",
            "train.early_stopping compares epochs, and train.select = 'last' does not; leave one of them out",
        )


def _require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    require(value in known, f"{name}: got {value!r:.80}, expected {', '.join(known[:-1])} or {known[-1]}")


@dataclass(frozen=True, slots=True)
class DetectConfig:
    """How scores become intervals (LEC-VAD, Inference).

    r_cls, r_ano
        Thresholds on a category's video-level activation and on a snippet's class probability (at least 1 / classes).
    leave
        Hysteresis: an interval starts where r_ano is passed and goes on while the score is over ``leave * r_ano``.
    merge_gap_s, min_length_s
        Intervals of one category that lie closer are joined; then shorter ones are dropped. Seconds.
    nms_iou
        Temporal NMS within a category.
    window, overlap
        Snippets scored at once; snippets that neighbouring windows share (at most half a window), where their scores
        are blended. ``evaluate`` and ``report`` score without overlap, as the papers do.
    """

    r_cls: float = 0.1
    r_ano: float = 0.2
    leave: float = 1.0
    merge_gap_s: float = 0.0
    min_length_s: float = 0.0
    nms_iou: float = 0.5
    window: int = 256
    overlap: int = 64

    def __post_init__(self) -> None:
        for name in ("r_cls", "r_ano", "leave", "nms_iou"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"detect.{name}: got {value}, expected 0 … 1")
        for name in ("merge_gap_s", "min_length_s"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"detect.{name}: got {value}, expected seconds, 0 or more")
        require(self.window >= 1, "detect.window must be at least 1")
        require(self.overlap >= 0, f"detect.overlap: got {self.overlap}, expected 0 or more snippets")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that ``vadpipe train`` can be told, apart from where data is and the seed.

    head, model
        Name of the head and its settings, of the class that :data:`HEAD_CONFIGS` has for it.
    stream, audio_stream
        Kinds of features; ``audio_stream`` only for heads that use audio.
    classes, prompts, prompt_template
        ``normal`` first, or () to take the labels'; text of a class where it is not its name; what it is put into.
    """

    head: str = DEFAULT_HEAD
    stream: str = "clip"
    audio_stream: str = ""
    classes: tuple[str, ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    prompt_template: str = "{}"
    model: HeadConfig = field(default_factory=LecVadConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)

    def __post_init__(self) -> None:
        why = why_no_classes(self.classes)
        require(not why, f"classes: {why}")
        require(
            self.prompt_template.count("{}") == 1 and not set("{}") & set(self.prompt_template.replace("{}", "")),
            f"prompt_template: got {self.prompt_template!r:.80}, expected one {{}} for the class name, no other braces",
        )
        require(
            type(self.model) is head_config(self.head),
            f"model: got {type(self.model).__name__}, expected settings of {self.head!r}",
        )
        require(
            not getattr(self.model, "positions", True) or self.detect.window <= self.model.max_snippets,
            f"detect.window: got {self.detect.window}, expected at most model.max_snippets, {self.model.max_snippets}",
        )
        require(
            self.model.uses_audio == bool(self.audio_stream),
            f"audio_stream: got {self.audio_stream!r:.80}; "
            + (
                f"{self.head} needs the stream of its audio features, for example wav2clip"
                if self.model.uses_audio
                else f"{self.head} with these settings takes no audio; leave it empty"
            ),
        )


def head_config(name: str) -> type[HeadConfig]:
    """Settings class of a head; :class:`UsageError` for an unknown name."""
    if name not in HEAD_CONFIGS:
        raise UsageError(f"head: got {name!r:.80}, expected one of {', '.join(HEAD_CONFIGS)}")
    return HEAD_CONFIGS[name]


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """Build settings from parsed TOML or JSON; ``head`` says which settings ``model`` has, - and _ in it are alike."""
    head = values.get("head", DEFAULT_HEAD)
    require(isinstance(head, str), f"head: got {head!r:.80}, expected a name")
    head = head.replace("-", "_")
    kind = head_config(head)
    model = values.get("model", {})
    require(isinstance(model, Mapping), f"model: got {model!r:.80}, expected a table")
    return from_mapping(RunConfig, {**values, "head": head, "model": from_mapping(kind, model, "model.")})


def to_mapping(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dicts, lists and numbers, for JSON."""
    return asdict(settings)


def from_mapping(kind: type[_Settings], values: Mapping[str, Any], prefix: str = "") -> _Settings:
    """Build a settings dataclass from parsed TOML or JSON; :class:`UsageError` names the offending key."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]  # _Settings is always a dataclass here
    for key in values:
        require(key in known, f"unknown setting {prefix}{key:.200}; known here: {', '.join(sorted(known))}")
    return kind(**{key: _convert(value, hints[key], f"{prefix}{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, key: str) -> Any:
    if hint is HeadConfig:
        return value  # made by run_config
    if is_dataclass(hint) and isinstance(hint, type):
        require(isinstance(value, Mapping), f"{key}: got {value!r:.80}, expected a table")
        return from_mapping(hint, value, f"{key}.")
    origin = get_origin(hint)
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{key}: got {value!r:.80}, expected a list")
        return tuple(_convert(item, get_args(hint)[0], key) for item in value)
    if origin is dict:
        require(isinstance(value, Mapping), f"{key}: got {value!r:.80}, expected a table")
        return {str(name): _convert(item, get_args(hint)[1], f"{key}.{name}") for name, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    require(type(value) is hint, f"{key}: got {value!r:.80}, expected {getattr(hint, '__name__', hint)}")
    return value


def read_values(path: Path) -> dict[str, Any]:
    """What a TOML file says, unchecked."""
    try:
        return read_toml(path)
    except FileNotFoundError:
        raise UsageError(f"config file {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"config file {path}: {error}") from error


def load_config(path: Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a TOML file (or nothing) and apply ``a.b=c`` overrides, each value in TOML's notation or a bare word."""
    values = {} if path is None else read_values(path)
    for override in overrides:
        _apply(values, override)
    return run_config(values)


def with_overrides(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The same settings with ``a.b=c`` overrides as for :func:`load_config`, checked together."""
    values = to_mapping(config)
    for override in overrides:
        _apply(values, override)
    return run_config(values)


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    require(bool(separator and key.strip()), f"--set {override:.200}: expected KEY=VALUE, for example train.epochs=20")
    require(key.count(".") <= _MOST_DOTS, f"--set {key:.80}…: got {key.count('.')} dots, expected at most {_MOST_DOTS}")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text
    *tables, last = key.strip().split(".")
    place: dict[str, Any] = values
    for name in tables:
        nested = place.setdefault(name, {})
        require(isinstance(nested, dict), f"--set {override:.200}: {name:.80} is not a table")
        place = nested
    place[last] = value
