"""VadCLIP and AVadCLIP against their public code: outputs, losses and gradients, within 1e-4 of each largest value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.released_files import DATA, golden
from vadpipe.extractors.clip_vit import tokenize
from vadpipe.models.clip_branches import TwoBranchOutput
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.released import RELEASED, own_name, sort_state
from vadpipe.models.text_tower import TextTower

KINDS = {
    "vadclip_ucf": "vadclip_ucf",
    "vadclip_xd": "vadclip_xd",
    "avadclip_xd_teacher": "avadclip_teacher",
    "avadclip_xd_student": "avadclip_student",
}
FILES = DATA / "heads"
TOLERANCE = 1e-4


def streams() -> tuple[Tensor, Tensor, Tensor]:
    """Picture, lengths (256 and 100 snippets) and sound, in the order that heads take them."""
    stored = np.load(FILES / "inputs.npz")
    video, audio = (torch.from_numpy(stored[name].astype(np.float32)) for name in ("visual", "audio"))
    return video, torch.from_numpy(stored["lengths"]).long(), audio


def golden_head(kind: str) -> Any:
    """The head with golden weights, to be trained, but without dropout: the golden values were made in eval mode."""
    released, described = RELEASED[kind], json.loads((FILES / f"{KINDS[kind]}.json").read_text())
    config = released.config("clip", "sound" if released.uses_audio else "")
    if released.uses_audio:
        model: Any = config.model  # of a head with sound
        config = replace(config, model=replace(model, audio_dropout=0.0))
    tokens, text = torch.from_numpy(tokenize(described["classes"])), torch.zeros(len(described["classes"]), 512)
    state, audio_dim = golden(kind), 512 if released.uses_audio else 0
    with torch.device("meta"):
        blank = build_head(config, HeadInputs(512, torch.zeros_like(text), audio_dim))
    parts = sort_state(state, released, blank)
    head = build_head(config, HeadInputs(512, text, audio_dim, tokens, TextTower.from_state(parts.tower)))
    head.load_state_dict(parts.head, strict=False)
    return head.train()


def deviation(got: Tensor, wanted: Any) -> float:
    """Largest difference, as a share of the largest magnitude."""
    reference = np.asarray(wanted, dtype=np.float64)
    return float(np.abs(got.detach().double().numpy() - reference).max() / np.abs(reference).max())


def expected(kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    described = json.loads((FILES / f"{KINDS[kind]}.json").read_text())
    with np.load(FILES / f"{KINDS[kind]}.npz") as stored:
        return described, {name: stored[name] for name in stored.files}


def outputs(out: TwoBranchOutput, head: Any) -> dict[str, Tensor]:
    """What the golden files hold, by their names."""
    norm, theta = out.features.norm(dim=-1), out.theta
    return {
        "binary_logits": out.logits,
        "align_logits": out.alignment,
        "text": out.text[:, :16],
        "text_norm": out.text.norm(dim=-1),
        "fused": out.features[..., :8],
        "features": out.features[..., :8],
        "fused_norm": norm,
        "feature_norm": norm,
        "theta": torch.empty(0) if theta is None else theta[..., :8],
        "alpha": getattr(head, "alpha", torch.empty(0)),
    }


@pytest.fixture(scope="module")
def teacher() -> TwoBranchOutput:
    head = golden_head("avadclip_xd_teacher").eval()
    with torch.no_grad():
        out: TwoBranchOutput = head(*streams())
    return out


@pytest.mark.parametrize("kind", list(KINDS))
def test_outputs_losses_and_gradients_are_the_public_codes(kind: str, teacher: TwoBranchOutput) -> None:
    head, (described, stored) = golden_head(kind), expected(kind)
    video, lengths, audio = streams()
    head.begin_step()
    out = head(video, lengths, audio)
    got = outputs(out, head)
    far = {name: deviation(got[name], value) for name, value in stored.items()}
    parts = head.loss(out, torch.tensor(described["labels"]), lengths, teacher)
    for name, own in (("bce", "bce"), ("align", "align"), ("text", "text"), ("ukd", "distill")):
        if f"loss_{name}" in described:
            far[name] = deviation(parts[own], described[f"loss_{name}"])
    extra = 1e-4 * parts["text"] if "loss_text" in described else 0.0
    torch.autograd.backward(parts["bce"] + parts["align"] + extra + 1e-8 * parts.get("distill", torch.zeros(())))
    head.end_step()
    parameters = dict(head.named_parameters())
    for name, value in described["grad_norm"].items():
        far[f"gradient of {name}"] = deviation(parameters[own_name(name) or ""].grad.norm(), value)
    assert {name: value for name, value in far.items() if not value < TOLERANCE} == {}
    assert len(far) >= 10


def test_the_cached_class_features_are_those_of_training(teacher: TwoBranchOutput) -> None:
    _, stored = expected("avadclip_xd_teacher")
    assert deviation(teacher.text[:, :16], stored["text"]) < TOLERANCE
    assert deviation(teacher.logits, stored["binary_logits"]) < TOLERANCE


def test_only_the_padded_video_depends_on_the_padding() -> None:
    head = golden_head("avadclip_xd_teacher").eval()
    _, stored = expected("avadclip_xd_teacher")
    video, lengths, audio = streams()
    head.config = replace(head.config, padding="masked")
    with torch.no_grad():
        out = head(video, lengths, audio)
    assert deviation(out.logits[0], stored["binary_logits"][0]) < TOLERANCE
    assert deviation(out.alignment[0], stored["align_logits"][0]) < TOLERANCE
    assert deviation(out.alignment[1, :100], stored["align_logits"][1, :100]) > 100 * TOLERANCE
