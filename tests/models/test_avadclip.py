"""AVadCLIP, teacher and student: audio that is missing, distillation, scores, steps in parts, precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.models.test_padding import SWITCHES, batch, make
from tests.pipeline.heads import small_inputs
from vadpipe.errors import UsageError
from vadpipe.head_config import (
    HEAD_CONFIGS,
    AVadClipConfig,
    AVadClipStudentConfig,
    TwoBranchConfig,
    VadClipConfig,
)
from vadpipe.models.avadclip import AVadClip
from vadpipe.models.clip_branches import TwoBranchOutput
from vadpipe.models.clip_layers import Snippets
from vadpipe.models.heads import HEADS

TARGETS = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
FUSIONS = ("adaptive", "concat", "add", "cross_attention")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_video_without_audio_keeps_its_video_features(fusion: str) -> None:
    head = make("avadclip", window=4, fusion=fusion)
    video, lengths, audio, has_audio = batch()
    out, louder = head(video, lengths, audio, has_audio), head(video, lengths, 3 * audio, has_audio)
    torch.testing.assert_close(out.logits[2, :1], louder.logits[2, :1])
    assert (out.logits[0] - louder.logits[0]).abs().max() > 0.01
    seen = head._see(video[:1], Snippets(torch.tensor([20]), 20, 40))
    silent = head(video[:1], lengths[:1], audio[:1], torch.tensor([False]))
    torch.testing.assert_close(silent.features[0], seen)


def test_adaptive_fusion_is_equations_1_to_3() -> None:
    head = make("avadclip", window=4)
    fusion, v, a = head.fusion, torch.randn(5, 32), torch.randn(5, 32)
    joint = torch.cat([v, a], dim=-1)
    wanted = v + fusion.gate_proj(joint) * fusion.residual_proj(joint)
    torch.testing.assert_close(fusion(v, a, None), wanted, rtol=1e-5, atol=1e-6)


def test_the_prompt_is_equations_4_to_8_as_released() -> None:
    head = make("avadclip", zero_init=False)
    video, _, audio, _ = batch()
    out = head(video, torch.full((3,), 20), audio)
    branches, x = head.branches, out.features
    prompt = torch.nn.functional.normalize(torch.einsum("bt,btd->bd", out.logits, x), dim=-1)
    classes = out.text[None] + prompt[:, None]
    classes = classes + branches.mlp1(classes)
    wanted = torch.cosine_similarity(x[:, :, None], classes[:, None], dim=-1) / 0.07
    torch.testing.assert_close(out.alignment, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.logits, branches.classifier(x + branches.mlp2(x))[..., 0], rtol=1e-4, atol=1e-5)
    without = make("avadclip", zero_init=False, av_prompt=False)(video, torch.full((3,), 20), audio)
    plain = without.text + branches.mlp1(without.text)
    wanted = torch.cosine_similarity(without.features[:, :, None], plain[None, None], dim=-1) / 0.07
    torch.testing.assert_close(without.alignment, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vadclip", "avadclip", "avadclip_student"])
def test_the_setting_says_which_branch_scores(name: str) -> None:
    switch = "student" if name == "avadclip_student" else name
    video, lengths, audio, has_audio = batch()
    binary = make(switch, score="binary")(video, lengths, audio, has_audio)
    alignment = make(switch, score="alignment")(video, lengths, audio, has_audio)
    torch.testing.assert_close(binary.anomaly, binary.logits.sigmoid())
    torch.testing.assert_close(alignment.anomaly, 1 - alignment.categories[..., 0])
    torch.testing.assert_close(alignment.categories.sum(dim=-1), torch.ones(3, 20))


@pytest.mark.parametrize("switch", ["vadclip", "avadclip", "student"])
def test_all_snippets_start_equal_and_the_first_step_is_a_small_one(switch: str) -> None:
    name, model = SWITCHES[switch]
    torch.manual_seed(0)
    head: Any = HEADS[name](HEAD_CONFIGS[name](**{"dim": 32, "layers": 1, **model}), small_inputs())
    video, lengths, audio, has_audio = batch()
    out = head(video, lengths, audio, has_audio)
    assert out.logits.abs().max() == 0
    assert out.alignment.abs().max() == 0
    teacher = make("avadclip", window=4)(video, lengths, audio, has_audio)
    torch.autograd.backward(head.loss(out, TARGETS, lengths, teacher)["total"])
    for parameter_name, parameter in head.named_parameters():
        if parameter.grad is not None:
            assert float(parameter.grad.abs().max()) < 100, parameter_name
    assert head.branches.gate.grad.abs() > 0


@pytest.mark.parametrize("switch", ["vadclip", "avadclip", "student"])
def test_a_batch_in_parts_gives_the_same_gradients(switch: str) -> None:
    head, teacher = make(switch).train(), make("avadclip", window=4)
    for module in head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    everything = (*batch(), TARGETS)
    gradients = []
    for parts in ([slice(0, 3)], [slice(0, 1), slice(1, 3)]):
        head.zero_grad()
        head.begin_step()
        for part in parts:
            video, lengths, audio, has_audio, targets = (value[part] for value in everything)
            with torch.no_grad():
                taught = teacher(video, lengths, audio, has_audio)
            loss = head.loss(head(video, lengths, audio, has_audio), targets, lengths, taught)["total"]
            torch.autograd.backward(loss * len(video) / 3)
        head.end_step()
        gradients.append({name: value.grad.clone() for name, value in head.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-6, msg=name)
    assert gradients[0]["prompts.weight"].abs().max() > 0
    assert head.step_sums(None) is None


@pytest.mark.parametrize("switch", list(SWITCHES))
def test_half_precision_keeps_the_losses_in_float32(switch: str) -> None:
    head, teacher = make(switch), make("avadclip", window=4)
    video, lengths, audio, has_audio = batch()
    taught = teacher(video, lengths, audio, has_audio)
    wanted = head.loss(head(video, lengths, audio, has_audio), TARGETS, lengths, taught)
    with torch.autocast("cpu", torch.bfloat16):
        out = head(video, lengths, audio, has_audio)
        got = head.loss(out, TARGETS, lengths, taught)
    assert out.alignment.dtype == out.logits.dtype == torch.float32
    for name, value in got.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(wanted[name].item(), rel=0.1, abs=0.1), name


def test_distillation_needs_its_teacher_and_pulls_towards_it() -> None:
    video, lengths, audio, has_audio = batch()
    teacher = make("avadclip", window=4)(video, lengths, audio, has_audio)
    far = {}
    for distill in ("none", "mse"):
        student = make("student", distill=distill, distill_weight=1.0).train()
        optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
        for _ in range(12):
            optimiser.zero_grad()
            torch.autograd.backward(student.loss(student(video, lengths), TARGETS, lengths, teacher)["total"])
            optimiser.step()
        far[distill] = float((student(video, lengths).features - teacher.features)[0].square().mean().detach())
    assert far["mse"] < 0.7 * far["none"]
    with pytest.raises(ValueError, match="needs the teacher's output"):
        student.loss(student(video, lengths), TARGETS, lengths)


def test_the_log_variance_grows_where_the_teacher_cannot_be_followed() -> None:
    student = make("student", distill_weight=1.0).train()
    video, lengths, _, _ = batch()
    optimiser = torch.optim.AdamW(student.refine.theta.parameters(), lr=3e-3)
    noise = torch.randn(3, 20, 32)
    noise[..., :16] *= 20  # columns that nobody can predict
    for _ in range(60):
        out = student(video, lengths)
        teacher = out._replace(features=out.features.detach() + noise)
        optimiser.zero_grad()
        torch.autograd.backward(student.loss(out, TARGETS, lengths, teacher)["distill"])
        optimiser.step()
    theta = student(video, lengths).theta[0]
    assert theta[:, :16].mean() > theta[:, 16:].mean() + 1


def test_statistics_go_to_the_stream_they_are_of() -> None:
    head = make("avadclip, pca")
    with pytest.raises(ValueError, match="stream 'depth' is not used"):
        head.set_statistics("depth", torch.zeros(3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="stream 'video' is not used"):
        make("student, audio").set_statistics("video", torch.zeros(16), torch.zeros(16, 16))


def test_missing_audio_is_named() -> None:
    video, lengths, audio, _ = batch()
    for switch in ("avadclip", "avadclip, audio", "student, audio"):
        with pytest.raises(ValueError, match="takes audio features"):
            make(switch)(video, lengths)
    with pytest.raises(ValueError, match="got 5 columns, expected 8"):
        make("avadclip")(video, lengths, audio[..., :5])
    with pytest.raises(ValueError, match="audio_dim: got 0"):
        AVadClip(AVadClipConfig(dim=32), replace(small_inputs(), audio_dim=0))


def test_settings_that_cannot_be_are_refused() -> None:
    wrong: list[tuple[type[TwoBranchConfig], dict[str, Any], str]] = [
        (VadClipConfig, {"padding": "none"}, "masked or released"),
        (VadClipConfig, {"score": "both"}, "binary or alignment"),
        (VadClipConfig, {"standardise": "rows"}, "columns or pca"),
        (VadClipConfig, {"heads": 3}, "divisor of dim 512"),
        (VadClipConfig, {"prompt_prefix": 40, "prompt_postfix": 40}, "room for a class name"),
        (AVadClipConfig, {"fusion": "gated"}, "add or cross_attention"),
        (AVadClipConfig, {"modality": "text"}, "visual or audio"),
        (AVadClipStudentConfig, {"modality": "audio_visual"}, "visual or audio"),
        (AVadClipStudentConfig, {"distill": "kl"}, "mse or none"),
        (AVadClipStudentConfig, {"distill_weight": -1.0}, "must not be negative"),
    ]
    for kind, values, message in wrong:
        with pytest.raises(UsageError, match=message):
            kind(**values)


def test_features_of_clips_width_add_nothing_to_the_released_parameters() -> None:
    inputs = replace(small_inputs(), video_dim=32, audio_dim=32)
    own = AVadClip(AVadClipConfig(dim=32), inputs).state_dict()
    assert not [name for name in own if "input" in name]
    out: TwoBranchOutput = AVadClip(AVadClipConfig(dim=32), inputs)(
        torch.randn(1, 4, 32).half(), torch.tensor([4]), torch.randn(1, 4, 32).half()
    )
    assert out.features.dtype == torch.float32
