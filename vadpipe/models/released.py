"""Checkpoints that the authors of VadCLIP and AVadCLIP released: which there are, and their parameters' names.

A file holds the whole module: the head, CLIP's text tower, which its class features come from, and CLIP's image tower,
which the authors use elsewhere. Nothing is guessed: a name that is in no table here is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from vadpipe.config import RunConfig, TrainConfig, from_mapping, head_config
from vadpipe.datasets import DATASETS
from vadpipe.errors import CheckpointError
from vadpipe.models.text_tower import TextTower
from vadpipe.shapes_only import shapes_only

WIDTH = 512  # columns of CLIP's features, and of everything in these heads
NESTS = ("model_state_dict", "state_dict")
"""Keys under which the authors' training checkpoints hold what the released files hold bare."""

_WRAPPER = "module."  # in front of every name where a model was saved inside DataParallel
_CLIP = "clipmodel."
_VOCABULARY, _POSITIONS, _LAYERS, _HEADS = 49408, 77, 12, 8  # of CLIP ViT-B/16's text tower
_LISTED = 4


@dataclass(frozen=True, slots=True)
class ReleasedKind:
    """One released configuration. Windows cannot be seen in a file, so they are fixed here.

    file, project
        How the authors' code calls the file, and where that code is.
    head, settings
        Name of the head, and its settings where they are not the defaults.
    dataset
        Gives classes and prompts. train: the authors' training, as far as :class:`TrainConfig` can say it.
    """

    name: str
    file: str
    project: str
    head: str
    settings: Mapping[str, Any]
    dataset: str
    train: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """``normal`` first, in the order of the released label map."""
        return DATASETS[self.dataset].classes

    @property
    def frames_per_snippet(self) -> int:
        """Frames that one row of the released features covers."""
        return DATASETS[self.dataset].frames_per_snippet

    def config(self, stream: str, audio_stream: str = "") -> RunConfig:
        """Settings of the imported run."""
        model = {"padding": "released", "zero_init": False, **self.settings}
        train = {"balanced": False, "batch_size": 96, "lr": 1e-5, "epochs": 10, "schedule": "step", **self.train}
        return RunConfig(
            head=self.head,
            stream=stream,
            audio_stream=audio_stream,
            classes=self.classes,
            prompts=dict(DATASETS[self.dataset].prompts),
            model=from_mapping(head_config(self.head), model),
            train=from_mapping(TrainConfig, {**train, "select": "paper-test"}),
        )

    @property
    def uses_audio(self) -> bool:
        """True for the audio-visual teacher."""
        return self.config("clip", "audio" if self.head == "avadclip" else "").model.uses_audio


_VADCLIP, _AVADCLIP = "github.com/nwpu-zxr/VadCLIP", "github.com/WanshunSu/AVadCLIP"

RELEASED: Mapping[str, ReleasedKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ReleasedKind(
                "vadclip_ucf",
                "model_ucf.pth",
                _VADCLIP,
                "vadclip",
                {"layers": 2, "window": 8, "score": "binary", "text_weight": 0.1},
                "ucf_crime",
                {"balanced": True, "batch_size": 128, "lr": 2e-5, "step_epochs": (4, 8)},
            ),
            ReleasedKind(
                "vadclip_xd",
                "model_xd.pth",
                _VADCLIP,
                "vadclip",
                {"layers": 1, "window": 64, "score": "alignment", "text_weight": 1e-4},
                "xd_violence",
            ),
            ReleasedKind(
                "avadclip_xd_teacher",
                "model_xd_t.pth",
                _AVADCLIP,
                "avadclip",
                {"layers": 2, "window": 4, "score": "alignment", "text_weight": 1e-4},
                "xd_violence",
            ),
            ReleasedKind(
                "avadclip_xd_student",
                "model_xd_s.pth",
                _AVADCLIP,
                "avadclip_student",
                {"layers": 1, "window": 64, "score": "alignment", "text_weight": 1e-4},
                "xd_violence",
            ),
        )
    }
)
"""Name -> released configuration, for ``vadpipe import checkpoint --as``."""

# The authors hold each convolution of the audio path twice, as conv1 and conv2 and inside ``net``. The values that come
# last in the file, those of ``net``, are what stays when their code loads it.
_COPIES: Mapping[str, str] = MappingProxyType(
    {
        f"temporalconvnet.network.{block}.{copy}.": f"temporalconvnet.network.{block}.net.{place}."
        for block in range(3)
        for copy, place in (("conv1", 0), ("conv2", 4))
    }
)

RELEASED_NAMES: Mapping[str, str] = MappingProxyType(
    {f"{part}.": f"video.{part}." for part in ("frame_position_embeddings", "temporal", "linear")}
    | {f"gc{number}.": f"video.gc{number}." for number in (1, 2, 3, 4)}
    | {f"{part}.": f"branches.{part}." for part in ("mlp1", "mlp2", "classifier")}
    | {released: f"audio.network.{copy.split('.')[2]}.{copy.split('.')[3]}." for copy, released in _COPIES.items()}
    | {"text_prompt_embeddings.": "prompts.", "temporalgatedresidual.": "fusion.", "fe_net.": "refine."}
    | {"alpha": "alpha"}
)
"""Beginning of a released name -> beginning of the parameter's name here; the rest is equal."""

IGNORED: tuple[tuple[str, str], ...] = (
    (r"disAdj\.sigma\Z", "a parameter that the authors' code does not use"),
    (r"clipmodel\.visual\.", "CLIP's image tower; features come from vadpipe's own extractor"),
    (r"clipmodel\.logit_scale\Z", "CLIP's temperature; the heads have their own"),
)
"""Released names (regular expression) that are passed over, and why."""


@dataclass(slots=True)
class Sorted:
    """A file's tensors by where they go: ``head`` under own names, ``tower`` under CLIP's, and counts of the ignored.

    unequal: second copies of convolutions whose values are not those of the first.
    """

    head: dict[str, Tensor] = field(default_factory=dict)
    tower: dict[str, Tensor] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    unequal: int = 0


def detect_kind(names: Iterable[str]) -> tuple[ReleasedKind, str]:
    """Recognise a configuration by its parameters' names, and say by what; :class:`CheckpointError` if it is none."""
    names = [name.removeprefix(_WRAPPER) for name in names]
    layers = len({name.split(".")[2] for name in names if re.match(r"temporal\.resblocks\.\d+\.", name)})
    if any(name.startswith("fe_net.") for name in names):
        return RELEASED["avadclip_xd_student"], "it has fe_net, the student's refinement"
    if any(name.startswith(("temporalconvnet.", "temporalgatedresidual.")) for name in names):
        return RELEASED["avadclip_xd_teacher"], "it has the audio path and the fusion"
    if layers in (1, 2):
        kind = RELEASED["vadclip_ucf" if layers == 2 else "vadclip_xd"]
        return kind, f"it has no audio path and {layers} temporal block{'s' if layers == 2 else ''}"
    shown = ", ".join(repr(name[:60]) for name in names[:_LISTED]) or "nothing"
    raise CheckpointError(
        f"the names ({shown}, …) are those of no released checkpoint known here; expected {', '.join(RELEASED)}"
    )


def sort_state(state: Mapping[str, Tensor], kind: ReleasedKind, head: nn.Module) -> Sorted:
    """Sort a released file's tensors and check every name, shape, type and value; ``head`` is one of this kind, empty.

    :class:`CheckpointError` lists what is missing, unknown, of another shape or type, or holds NaN.
    """
    wrapped = bool(state) and all(name.startswith(_WRAPPER) for name in state)
    bare = {name.removeprefix(_WRAPPER) if wrapped else name: value for name, value in state.items()}
    parts, unknown = _by_name(bare)
    wanted = {f"{_CLIP}{name}": value for name, value in _tower_on_paper().items()}
    own = {name: value for name, value in head.state_dict().items() if name != "prompts.class_text"}
    wanted |= {released_name(name): value for name, value in own.items()}
    got = {f"{_CLIP}{name}": value for name, value in parts.tower.items()}
    got |= {released_name(name): value for name, value in parts.head.items()}
    unknown += sorted(got.keys() - wanted.keys())
    differences = {
        "missing": sorted(wanted.keys() - got.keys()),
        "unknown": unknown,
        "of another shape": [
            f"{name} {tuple(got[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & got.keys())
            if wanted[name].shape != got[name].shape
        ],
        "not of floating point": [f"{name} {value.dtype}" for name, value in got.items() if not _is_plain(value)],
    }
    _refuse(kind, differences)  # before any value is looked at: a wrong shape may claim a lot of memory
    # As float32, which is what is kept: a float64 value may be finite and too large for it.
    nan = [name for name, value in sorted(got.items()) if not bool(torch.isfinite(value.float()).all())]
    _refuse(kind, {"with NaN or infinity": nan})
    parts.head = {name: value.float() for name, value in parts.head.items()}
    return parts


def _by_name(state: Mapping[str, Tensor]) -> tuple[Sorted, list[str]]:
    """Sort by name alone; also the names that belong nowhere."""
    parts, unknown, copies = Sorted(), [], {}
    for name, value in state.items():
        reason = next((why for pattern, why in IGNORED if re.match(pattern, name)), None)
        own = own_name(name)
        if reason is not None:
            parts.ignored[reason] = parts.ignored.get(reason, 0) + 1
        elif name.startswith(_CLIP):
            parts.tower[name.removeprefix(_CLIP)] = value
        elif own is None:
            unknown.append(name)
        elif _renamed(name, _COPIES) is not None:
            copies[own] = value
        else:
            parts.head[own] = value
    for own, value in copies.items():
        kept = parts.head.setdefault(own, value)  # files that keep shared tensors once lack either name
        same = kept.shape == value.shape and kept.dtype == value.dtype and bool(torch.equal(kept, value))
        parts.unequal += not same
    return parts, sorted(unknown)


def own_name(released: str) -> str | None:
    """Name here of a released parameter of the head, first or second copy; None for a name that is in no table."""
    return _renamed(_renamed(released, _COPIES) or released, RELEASED_NAMES)


def released_name(own: str) -> str:
    """Reverse of :func:`own_name`, for messages; a name without a released counterpart is returned as it is."""
    return _renamed(own, {value: key for key, value in RELEASED_NAMES.items()}) or own


def _renamed(name: str, beginnings: Mapping[str, str]) -> str | None:
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return None


def _tower_on_paper() -> Mapping[str, Tensor]:
    with shapes_only():
        return TextTower(WIDTH, _LAYERS, _HEADS, _VOCABULARY, _POSITIONS, WIDTH).state_dict()


def _is_plain(value: Tensor) -> bool:
    return value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _refuse(kind: ReleasedKind, differences: Mapping[str, list[str]]) -> None:
    told = []
    for what, names in differences.items():
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            told.append(f"{len(names)} {what}: {', '.join(name[:100] for name in names[:_LISTED])}{more}")
    if told:
        raise CheckpointError(f"the file is no {kind.name} ({kind.file} of {kind.project}): {'; '.join(told)}")
