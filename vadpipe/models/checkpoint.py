"""A trained head on disk: ``model.safetensors``, ``config.json`` and ``README.md`` (model card); no code in any."""

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

from vadpipe.config import RunConfig, run_config, to_mapping
from vadpipe.errors import CheckpointError, StoreError, UsageError
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.spec import FeatureSpec
from vadpipe.track_file import atomic_write

SCHEMA = "vadpipe.head/1"


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head ready for use, and where it comes from.

    classes
        ``normal`` first. selection: which epoch was kept and by what.
    spec, audio_spec
        The features it was trained on; None for no audio.
    provenance
        Plain values for the model card: seed, counts, validation figures, note on untrained encoders, …
    sha256
        Digest of ``model.safetensors``.
    """

    head: Any
    config: RunConfig
    spec: FeatureSpec
    classes: tuple[str, ...]
    selection: str
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    audio_spec: FeatureSpec | None = None


def save_head(folder: Path, trained: TrainedHead) -> str:
    """Write the checkpoint; ``config.json`` comes last and names the digest of the weights, which is returned."""
    content = save_tensors(
        {name: value.detach().cpu().contiguous() for name, value in trained.head.state_dict().items()}
    )
    digest = hashlib.sha256(content).hexdigest()
    atomic_write(folder / "model.safetensors", content)
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
    atomic_write(folder / "README.md", model_card(trained, digest).encode())
    atomic_write(folder / "config.json", (json.dumps(described, indent=1, sort_keys=True) + "\n").encode())
    return digest


def load_head(folder: Path, device: str = "cpu") -> TrainedHead:
    """Read and check a checkpoint; :class:`CheckpointError` says what is missing, damaged or does not fit."""
    described = _read_description(folder)
    try:
        content = (folder / "model.safetensors").read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder}/model.safetensors cannot be read ({error}); train again") from error
    if hashlib.sha256(content).hexdigest() != described["sha256"]:
        raise CheckpointError(
            f"{folder}/model.safetensors has another sha256 than config.json says: damaged or exchanged"
        )
    try:
        config = run_config(described["config"])
        spec = FeatureSpec.from_mapping(described["spec"])
        audio = described.get("audio_spec")  # heads of before there was audio lack it
        audio_spec = FeatureSpec.from_mapping(audio) if audio else None
        classes = tuple(str(name) for name in described["classes"])
        state = load_tensors(content)
        text = torch.zeros(len(classes), config.model.dim)
        head = build_head(config, HeadInputs(spec.dim, text, audio_spec.dim if audio_spec else 0))
        check_state(head.state_dict(), state)
    except (UsageError, StoreError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint this version can read: {error}") from error
    head.load_state_dict(state)
    head.eval().to(device)
    kept, facts, digest = described["selection"], described["provenance"], described["sha256"]
    return TrainedHead(head, config, spec, classes, kept, facts, digest, audio_spec)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no finished head (no config.json); run vadpipe train first") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    wanted = {"schema", "config", "spec", "classes", "selection", "provenance", "sha256"}
    if not isinstance(described, dict) or set(described) - {"audio_spec"} != wanted or described["schema"] != SCHEMA:
        raise CheckpointError(f"{path} is not {SCHEMA}; written by another version or damaged")
    return described


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
    facts = "\n".join(f"| {name} | {value} |" for name, value in sorted(trained.provenance.items()))
    audio = f"| audio | `{trained.audio_spec.folder}` ({trained.audio_spec.model}) |\n" if trained.audio_spec else ""
    untrained = (
        "\n**The encoder had random weights. Scores from this head show that the pipeline works, nothing more.**\n"
        if spec.untrained
        else ""
    )
    return f"""# {trained.config.head} head
{untrained}
Scores snippets of {spec.frames_per_snippet} frames for: {", ".join(trained.classes)}.

| | |
|---|---|
| features | `{spec.folder}` ({spec.model}, weights {spec.weights}, {spec.dim} columns) |
{audio}| selection | {trained.selection} |
| sha256 of model.safetensors | `{digest}` |
{facts}

Trained on video-level labels only (weak supervision). Its scores are not calibrated probabilities; look at the video
before acting on one. It knows only the categories above and footage like that it was trained on.

Use: `vadpipe detect clip.mp4 --run {{this folder}}`
"""
