"""The LEC-VAD head: shapes, masks, switches, memory, checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vadpipe.config import RunConfig
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.layers import LocalTransformer, principal_components
from vadpipe.spec import FeatureSpec

SMALL = LecVadConfig(dim=32, heads=4, memory_blocks=2, zero_init=False)
SWITCHES = {
    "default": SMALL,
    "vadclip graph": replace(SMALL, graph="vadclip"),
    "overlap": replace(SMALL, window_overlap=3),
    "no residual": replace(SMALL, residual=False),
    "no positions": replace(SMALL, positions=False),
    "vision only": replace(SMALL, cross_modal_branch=False),
    "cross modal only": replace(SMALL, vision_only_branch=False),
    "no vision prompt": replace(SMALL, vision_prompt=False),
    "no memory": replace(SMALL, memory_bank=False),
    "columns": replace(SMALL, standardise="columns"),
    "pca": replace(SMALL, standardise="pca"),
    "mixture with normal": replace(SMALL, gmm_include_normal=True),
}


def build(config: LecVadConfig = SMALL, input_dim: int = 24, classes: int = 3) -> LecVad:
    torch.manual_seed(0)
    head = LecVad(config, HeadInputs(input_dim, torch.randn(classes, config.dim)))
    rows = torch.randn(200, input_dim, dtype=torch.float64)
    head.set_statistics("video", rows.mean(0), rows.T.cov(correction=0))
    return head


def batch(length: int = 20, input_dim: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([length, 13])
    video = torch.randn(2, length, input_dim)
    video[1, 13:] = 0
    return video, lengths


@pytest.mark.parametrize("config", SWITCHES.values(), ids=SWITCHES.keys())
def test_padding_never_changes_a_real_snippets_score(config: LecVadConfig) -> None:
    head = build(config).eval()
    video, lengths = batch()
    dirty = torch.cat([video, torch.full((2, 9, 24), 50.0)], dim=1)
    dirty[1, 13:] = -30.0
    clean, padded = head(video, lengths), head(dirty, lengths)
    for row, length in enumerate(lengths.tolist()):
        for name in ("anomaly", "s_b", "s_m", "s_aware", "s_gmm"):
            torch.testing.assert_close(
                getattr(clean, name)[row, :length], getattr(padded, name)[row, :length], rtol=1e-5, atol=1e-6
            )
    alone = head(video[1:, :13], lengths[1:])
    torch.testing.assert_close(alone.anomaly[0], clean.anomaly[1, :13], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_switch_trains_every_parameter_it_uses(config: LecVadConfig) -> None:
    head = build(config)
    video, lengths = batch()
    out = head(video, lengths)
    assert out.s_m.shape == (2, 20, 3)
    torch.testing.assert_close(out.s_m.sum(-1), torch.ones(2, 20))
    losses = head.loss(out, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), lengths)
    torch.autograd.backward(losses["total"])
    for name, parameter in head.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    assert head.score_binary.weight.grad is not None
    used = {name.split(".")[0] for name, parameter in head.named_parameters() if parameter.grad is not None}
    assert ("memory_blocks" in used) == (config.cross_modal_branch and config.memory_bank)
    assert ("positions" in used) == config.positions


def test_windows_of_the_local_transformer_exchange_nothing() -> None:
    torch.manual_seed(0)
    local = LocalTransformer(16, 2, 2, window=8).eval()
    x, mask = torch.randn(1, 24, 16), torch.ones(1, 24, dtype=torch.bool)
    changed = x.clone()
    changed[0, 9] += torch.randn(16)  # not a constant: layer norm would not see it
    difference = (local(changed, mask) - local(x, mask)).abs().amax(dim=(0, 2)) > 1e-6
    assert difference.nonzero().flatten().tolist() == list(range(8, 16))


def test_total_loss_is_equation_10() -> None:
    head = build()
    video, lengths = batch()
    parts = head.loss(head(video, lengths), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), lengths)
    expected = parts["agnostic"] + parts["aware"] + 0.3 * parts["gmm"] + 1e-4 * parts["reg"]
    torch.testing.assert_close(parts["total"], expected)


def test_memory_follows_equation_11_and_only_when_told() -> None:
    head = build()
    torch.testing.assert_close(head.memory, head.text)
    before = head.memory.clone()
    out = head(*batch())
    torch.testing.assert_close(head.memory, before)
    sums = head.step_sums(out)
    assert sums is not None
    head.after_step(sums / len(out.s_b))
    assert out.prototypes is not None
    torch.testing.assert_close(head.memory, 0.99 * before + 0.01 * out.prototypes.mean(dim=0))


def test_mixture_equals_the_concatenated_layer() -> None:
    head = build().eval()
    out = head(*batch())
    assert out.prototypes is not None
    weight = torch.cat([head.kernel_class.weight, head.kernel_video.weight], dim=1)
    joined = torch.cat([out.prototypes[0, 1], out.features[0, 4]])
    kernel = weight @ joined + head.kernel_video.bias
    torch.testing.assert_close(out.mu[0, 4, 1], kernel[0].sigmoid())
    torch.testing.assert_close(out.sigma[0, 4, 1], torch.nn.functional.softplus(kernel[1]) + 1e-3)


def test_zero_start_scores_all_snippets_alike() -> None:
    out = build(replace(SMALL, zero_init=True)).eval()(*batch())
    torch.testing.assert_close(out.s_b, torch.full_like(out.s_b, 0.5))
    torch.testing.assert_close(out.s_m, torch.full_like(out.s_m, 1 / 3))


def test_the_cross_modal_score_starts_silent_and_learns_to_speak() -> None:
    head = build(replace(SMALL, zero_init=True))
    out = head(*batch())
    torch.testing.assert_close(out.s_aware, out.s_m)
    assert head.cross_modal_gate is not None
    losses = head.loss(out, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([20, 13]))
    torch.autograd.backward(losses["total"])
    assert head.cross_modal_gate.grad is not None
    assert head.cross_modal_gate.grad != 0
    with torch.no_grad():
        head.cross_modal_gate.fill_(0.01)
    opened = head(*batch())
    assert (opened.s_aware - opened.s_m).abs().max() > 0.01
    assert (opened.s_aware - opened.s_m).abs().max() <= 0.3 + 1e-6


def test_principal_components_are_those_of_the_rows() -> None:
    rows = torch.randn(300, 6, dtype=torch.float64) * torch.tensor([5.0, 1.0, 4.0, 0.1, 3.0, 0.2])
    centred = rows - rows.mean(0)
    projected = centred.float() @ principal_components(rows.T.cov(correction=0), 3)
    assert projected.norm(dim=1).square().mean().sqrt().item() == pytest.approx(10.0, rel=1e-4)
    kept = centred.float() @ torch.linalg.svd(centred.float(), full_matrices=False).Vh[:3].T
    scale = 10 / kept.square().sum(dim=1).mean().sqrt()
    torch.testing.assert_close(projected @ projected.T, scale**2 * (kept @ kept.T), rtol=1e-3, atol=1e-2)
    assert principal_components(rows.T.cov(), 8)[:, 6:].abs().max() == 0


def test_columns_are_standardised_by_the_training_statistics() -> None:
    head = build(replace(SMALL, standardise="columns"))
    rows = torch.randn(500, 24, dtype=torch.float64) * 3 + 7
    head.set_statistics("video", rows.mean(0), rows.T.cov(correction=0))
    torch.testing.assert_close(head.mean, rows.mean(0).float())
    torch.testing.assert_close(head.std, rows.std(0, correction=0).float())


def test_both_branches_off_is_refused() -> None:
    with pytest.raises(UsageError, match="both off"):
        LecVadConfig(vision_only_branch=False, cross_modal_branch=False)


def trained(head: LecVad) -> TrainedHead:
    spec = FeatureSpec("clip", 24, "test", "random:0")
    return TrainedHead(head, RunConfig(model=SMALL), spec, ("normal", "a", "b"), "epoch 1", {"epoch": 1.0})


def test_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    head = build()
    head.after_step(head.step_sums(head(*batch())))
    digest = save_head(tmp_path, trained(head))
    loaded = load_head(tmp_path)
    assert loaded.sha256 == digest
    assert (loaded.classes, loaded.selection, loaded.spec) == (("normal", "a", "b"), "epoch 1", trained(head).spec)
    for name, value in head.state_dict().items():
        assert torch.equal(loaded.head.state_dict()[name], value), name
    assert "random weights" in (tmp_path / "README.md").read_text()


def test_same_head_same_bytes(tmp_path: Path) -> None:
    first, second = save_head(tmp_path / "a", trained(build())), save_head(tmp_path / "b", trained(build()))
    assert first == second
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="vadpipe train"):
        load_head(tmp_path)
    save_head(tmp_path, trained(build()))
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    content, described = weights.read_bytes(), config.read_text()
    weights.write_bytes(content[:-4] + b"abcd")
    with pytest.raises(CheckpointError, match="sha256"):
        load_head(tmp_path)
    weights.write_bytes(content)
    config.write_text(described[:-20])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_head(tmp_path)
    values = json.loads(described)
    values["classes"].append("one more")
    config.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="score_classes"):
        load_head(tmp_path)
    values["config"]["model"]["depth"] = 3
    config.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"model\.depth"):
        load_head(tmp_path)
