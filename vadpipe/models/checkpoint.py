"""A trained head on disk: ``model.safetensors``, ``config.json`` and ``README.md`` (model card); no code in any.

Beside them may lie ``text_tower.safetensors``: CLIP's text tower and the class prompts' tokens, with which a head that
has learned prompts can be trained further.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from vadpipe.class_names import why_no_classes
from vadpipe.config import RunConfig, run_config, to_mapping
from vadpipe.errors import CheckpointError, StoreError, UsageError, WeightsError
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.tensor_files import read_file, replace_files
from vadpipe.models.text_tower import TextTower
from vadpipe.outside import read_json, twice
from vadpipe.redact import redacted
from vadpipe.shapes_only import shapes_only
from vadpipe.spec import FeatureSpec
from vadpipe.whole_file import atomic_write

SCHEMA = "vadpipe.head/1"
TOWER_FILE = "text_tower.safetensors"
_TOKENS = "tokens"  # beside the tower's own names in that file
_MOST_BYTES = 4 << 20  # of config.json
_PLAIN = {"\\": "\\\\", "&": "&amp;", "<": "&lt;", "[": "\\[", "]": "\\]", "`": "'", "|": "\\|"}
_OPTIONAL = {"audio_spec", "tower_sha256"}  # heads of before there was audio lack the first


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head ready for use, and where it comes from.

    classes
        ``normal`` first, those of ``zero_shot`` last. selection: which epoch was kept and by what.
    spec, audio_spec
        The features it was trained on; None for no audio. :class:`UsageError` where the first are sound.
    provenance
        Plain values for the model card: seed, counts, validation figures, note on untrained encoders, …
    sha256
        Digest of ``model.safetensors``.
    folder
        Where it was read from; None for one that was not.
    zero_shot, notes
        Categories that were only named when detecting, see :mod:`vadpipe.pipeline.detecting.zero_shot`; what every
        result has to warn of because of them.
    """

    head: Any
    config: RunConfig
    spec: FeatureSpec
    classes: tuple[str, ...]
    selection: str
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    audio_spec: FeatureSpec | None = None
    folder: Path | None = None
    zero_shot: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.spec.require_picture()

    @property
    def trained_classes(self) -> tuple[str, ...]:
        """The classes without those of ``zero_shot``."""
        return tuple(name for name in self.classes if name not in self.zero_shot)

    @property
    def chosen_on_test(self) -> bool:
        """Whether the test set chose this head, or the head that taught it."""
        return names_test_set(self.selection)

    @property
    def caution(self) -> str:
        """What every result of this head has to warn of; empty for heads that were trained here."""
        return str(self.provenance.get("caution", ""))


def names_test_set(selection: str) -> bool:
    """Whether words about a head's selection name the test set, as a run's own or an imported head's do."""
    return "test set" in selection.lower()


def save_head(folder: Path, trained: TrainedHead, tower: tuple[TextTower, Tensor] | None = None) -> str:
    """Write the checkpoint; ``config.json`` names the digest of the weights, which is returned, and decides.

    A kill at any point leaves the head that was there, or the new one; only the model card may be the other's.
    :class:`CheckpointError` for classes that :func:`load_head` would refuse.

    ``tower``: the text tower of a head with learned prompts, and its prompts' tokens (C+1, 77) int64.
    """
    if why := why_no_classes(trained.classes):  # it could never be loaded
        raise CheckpointError(f"{folder}: classes: {why}")
    content = save_tensors(
        {name: value.detach().cpu().contiguous() for name, value in trained.head.state_dict().items()}
    )
    digest = hashlib.sha256(content).hexdigest()
    tensors = {folder / "model.safetensors": content}
    described = {
        "schema": SCHEMA,
        "config": to_mapping(trained.config),
        "spec": json.loads(trained.spec.to_json()),
        "audio_spec": json.loads(trained.audio_spec.to_json()) if trained.audio_spec else None,
        "classes": list(trained.classes),
        "selection": trained.selection,
        "provenance": trained.provenance,
        "sha256": digest,
    }
    if tower is not None:
        tensors[folder / TOWER_FILE] = _tower_content(*tower)
        described["tower_sha256"] = hashlib.sha256(tensors[folder / TOWER_FILE]).hexdigest()
    atomic_write(folder / "README.md", model_card(trained, digest).encode())
    replace_files(tensors, folder / "config.json", (json.dumps(described, indent=1, sort_keys=True) + "\n").encode())
    return digest


def _tower_content(tower: TextTower, tokens: Tensor) -> bytes:
    state = {name: value.detach().cpu().contiguous() for name, value in tower.state_dict().items()}
    return save_tensors({**state, _TOKENS: tokens})


def load_head(folder: Path, device: str = "cpu", *, with_tower: bool = False) -> TrainedHead:
    """Read and check a checkpoint, in eval mode; :class:`CheckpointError` says what is missing, damaged or unfit.

    ``with_tower``: give the head its text tower too, so that it can be trained further.
    """
    described = _read_description(folder)
    state = _read_tensors(folder / "model.safetensors", described["sha256"])
    inputs: dict[str, Any] = {}
    if with_tower:
        inputs = _read_tower(folder / TOWER_FILE, described.get("tower_sha256"))
    try:
        config = run_config(described["config"])
        spec = FeatureSpec.from_mapping(described["spec"])
        spec.require_picture()
        audio = described.get("audio_spec")
        audio_spec = FeatureSpec.from_mapping(audio) if audio else None
        classes = tuple(str(name) for name in described["classes"])
        audio_dim = audio_spec.dim if audio_spec else 0
        with shapes_only():  # wider settings than the file's cost no memory; head_config bounds the layers
            text = torch.zeros(len(classes), config.model.dim)
            check_state(build_head(config, HeadInputs(spec.dim, text, audio_dim)).state_dict(), state)
        head = build_head(config, HeadInputs(spec.dim, torch.zeros(text.shape), audio_dim, **inputs))
    except (UsageError, StoreError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint this version can read: {error}") from error
    head.load_state_dict(state)
    head.to(device).eval()
    kept, facts, digest = described["selection"], described["provenance"], described["sha256"]
    return TrainedHead(head, config, spec, classes, kept, facts, digest, audio_spec, folder)


def load_tower(folder: Path) -> TextTower | None:
    """Read the text tower beside a checkpoint, its digest checked; None where none was kept."""
    sha256 = _read_description(folder).get("tower_sha256")
    if sha256 is None:
        return None
    tower: TextTower = _read_tower(folder / TOWER_FILE, sha256)["tower"]
    return tower


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file of a run folder; :class:`CheckpointError` unless it has the digest."""
    content = read_file(path, sha256)
    try:
        return dict(load_tensors(content))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no readable safetensors file: {error}") from error


def _read_tower(path: Path, sha256: str | None) -> dict[str, Any]:
    if sha256 is None:
        raise CheckpointError(f"{path.parent} was written without its text tower; train or import again, keeping it")
    state = _read_tensors(path, sha256)
    if _TOKENS not in state or state[_TOKENS].dtype != torch.int64:
        raise CheckpointError(f"{path} holds no tokens of the class prompts; import again")
    tokens = state.pop(_TOKENS)
    try:
        return {"tokens": tokens, "tower": TextTower.from_state(state)}
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        described = read_json(path, _MOST_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no finished head (no config.json); run vadpipe train first") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    wanted = {"schema", "config", "spec", "classes", "selection", "provenance", "sha256"}
    if not isinstance(described, dict) or set(described) - _OPTIONAL != wanted or described["schema"] != SCHEMA:
        raise CheckpointError(f"{path} is not {SCHEMA}; written by another version or damaged")
    _check_texts(path, described)
    return described


def _check_texts(path: Path, described: Mapping[str, Any]) -> None:
    """Refuse what would not be a name, a digest or facts wherever it is shown."""
    names = described["classes"]
    if not isinstance(names, list) or not names:
        raise CheckpointError(f"{path}: classes: expected a list of names")
    if why := why_no_classes(names):
        raise CheckpointError(f"{path}: classes: {why}")
    if twofold := twice(names):
        raise CheckpointError(f"{path}: class {twofold!r} is there twice")
    if not isinstance(described["selection"], str) or not isinstance(described["provenance"], dict):
        raise CheckpointError(f"{path}: expected a text as selection, and facts by name as provenance")
    if not all(isinstance(described.get(name) or "", str) for name in ("sha256", "tower_sha256")):
        raise CheckpointError(f"{path}: expected digests as texts")


def check_state(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Raise :class:`CheckpointError` with the first differences unless names and shapes are equal and finite."""
    differences = [f"missing {name}" for name in sorted(wanted.keys() - got.keys())]
    differences += [f"unknown {name}" for name in sorted(got.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & got.keys()):
        if wanted[name].shape != got[name].shape:
            differences.append(f"{name}: {tuple(got[name].shape)} instead of {tuple(wanted[name].shape)}")
        elif not bool(torch.isfinite(got[name]).all()):
            differences.append(f"{name} holds NaN or infinity")
    if differences:
        raise CheckpointError(f"weights do not fit the network: {'; '.join(differences[:5])}")


def model_card(trained: TrainedHead, digest: str) -> str:
    """Markdown for people: what this is, what it was trained on, how it was selected, what it must not be used for."""
    spec = trained.spec
    facts = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in sorted(trained.provenance.items()))
    audio = (
        f"| audio | `{_cell(trained.audio_spec.folder)}` ({_cell(trained.audio_spec.model)}) |\n"
        if trained.audio_spec
        else ""
    )
    untrained = (
        "\n**The encoder had random weights. Scores from this head show that the pipeline works, nothing more.**\n"
        if spec.untrained
        else ""
    )
    trained_on = "According to its authors, trained" if trained.caution else "Trained"
    return f"""# {trained.config.head} head
{untrained}
Scores snippets of {spec.frames_per_snippet} frames for: {", ".join(map(_cell, trained.classes))}.

| | |
|---|---|
| features | `{_cell(spec.folder)}` ({_cell(spec.model)}, weights {_cell(spec.weights)}, {spec.dim} columns) |
{audio}| selection | {_cell(trained.selection)} |
| sha256 of model.safetensors | `{digest}` |
{facts}

{trained_on} on video-level labels only (weak supervision). Its scores are not calibrated probabilities; look at the
video before acting on one. It knows only the categories above and footage like that it was trained on.

Use: `vadpipe detect clip.mp4 --run {{this folder}}`
"""


def _cell(value: object) -> str:
    """A value as plain text: it cannot end its cell of a Markdown table, nor be a link, a picture or HTML."""
    text = "".join(char if char.isprintable() else " " for char in redacted(str(value)))
    for char, shown in _PLAIN.items():
        text = text.replace(char, shown)
    return text
