"""One optimiser step: the same loss and gradients however its videos are cut; learning rates; number formats."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.pipeline.heads import small_config, small_inputs
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, CONFIG, SPEC, plant, plant_audio
from vadpipe.config import RunConfig, TrainConfig
from vadpipe.errors import UsageError
from vadpipe.head_config import HEAD_CONFIGS
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.models.heads import build_head
from vadpipe.pipeline.training.bags import Bags, Batch
from vadpipe.pipeline.training.ranks import Ranks
from vadpipe.pipeline.training.state import TrainState
from vadpipe.pipeline.training.step import Stepper, epoch_steps, in_float32, learning_rate, pieces
from vadpipe.pipeline.training.teacher import Teacher


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Bags:
    planted = plant(tmp_path_factory.mktemp("step"), 16)
    plant_audio(planted, silent=3)
    return Bags(planted.store, SPEC, planted.records, CLASSES, audio_spec=AUDIO_SPEC)


def stepper(bags: Bags, config: RunConfig, head: torch.nn.Module | None = None) -> Stepper:
    torch.manual_seed(3)
    head = build_head(config, small_inputs()) if head is None else head
    with torch.no_grad():  # off the zero start, where many gradients are 0 and all would agree
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1.0)
    teacher = None
    if getattr(config.model, "distill", "none") != "none":
        told = small_config("avadclip", padding=getattr(config.model, "padding", "masked"))
        trained = TrainedHead(build_head(told, small_inputs()), told, SPEC, CLASSES, "", audio_spec=AUDIO_SPEC)
        teacher = Teacher(trained, bags)
    return Stepper(TrainState(head, optimizer, config.train, ""), bags, config, 0, teacher=teacher)


def after_step(step: Stepper, batches: Sequence[Sequence[int]]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Loss parts; gradients and the memory after one step."""
    step.state.head.train()
    parts = step.step(batches, 1e-3)
    left = {name: item.grad for name, item in step.state.head.named_parameters() if item.grad is not None}
    return parts, left | {name: item for name, item in step.state.head.named_buffers() if name == "memory"}


WAYS = [(head, cut) for head in sorted(HEAD_CONFIGS) for cut in ("micro_batch", "accumulate")]


@pytest.mark.parametrize(
    ("head", "cut"), WAYS + [(head, "released") for head in ("vadclip", "avadclip", "avadclip_student")]
)
def test_micro_batches_give_the_loss_and_gradients_of_the_whole_batch(train: Bags, head: str, cut: str) -> None:
    model: dict[str, Any] = {"distill_weight": 0.5} if head == "avadclip_student" else {}
    if cut == "released":
        model["padding"] = "released"
    config = small_config(head, **model)
    indices = list(range(11))
    whole, wanted = after_step(stepper(train, config), [indices])
    if cut == "accumulate":
        got, gradients = after_step(stepper(train, config), [indices[:8], indices[8:]])
    else:
        settings = replace(config.train, micro_batch=4)
        got, gradients = after_step(stepper(train, replace(config, train=settings)), [indices])
    assert got == pytest.approx(whole, rel=1e-6, abs=2e-6)
    assert gradients.keys() == wanted.keys()
    assert any("prompts" in name for name in wanted) == (head != "lec_vad")
    for name, value in wanted.items():
        torch.testing.assert_close(
            gradients[name],
            value,
            atol=1e-5,
            rtol=1e-4,
        )
    assert sum(float(value.abs().sum()) > 0 for value in wanted.values()) > len(wanted) / 2


def test_without_the_weights_of_uneven_pieces_it_would_not(train: Bags) -> None:
    """The comparison above can fail: the plain mean over pieces of 8 and 3 videos is another loss."""
    config = small_config("lec_vad")
    whole, _ = after_step(stepper(train, config), [list(range(11))])
    first, _ = after_step(stepper(train, config), [list(range(8))])
    last, _ = after_step(stepper(train, config), [list(range(8, 11))])
    assert (first["total"] + last["total"]) / 2 != pytest.approx(whole["total"], abs=1e-4)
    assert (8 * first["total"] + 3 * last["total"]) / 11 == pytest.approx(whole["total"], abs=1e-6)


def test_a_micro_batch_is_padded_to_its_own_longest_only(train: Bags, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    batch = Bags.batch

    def seen(self: Bags, indices: Sequence[int]) -> Batch:
        made = batch(self, indices)
        shapes.append((len(indices), made.video.shape[1]))
        return made

    monkeypatch.setattr(Bags, "batch", seen)
    config = small_config("lec_vad", replace(CONFIG.train, average=0.0, micro_batch=4))
    after_step(stepper(train, config), [list(range(16))])
    lengths = sorted(train.length(index) for index in range(16))
    assert shapes == [(4, lengths[at + 3]) for at in (0, 4, 8, 12)]
    assert sum(count * size for count, size in shapes) < 16 * lengths[-1]


def test_pieces_of_a_step(train: Bags) -> None:
    lengths = [5, 9, 2, 7, 4]
    assert list(pieces([[0, 1], [4, 2, 3]], lengths.__getitem__, 0)) == [([0, 1], True), ([4, 2, 3], True)]
    assert list(pieces([[0, 1], [4, 2, 3]], lengths.__getitem__, 2)) == [([2, 4], True), ([0, 3], True), ([1], True)]
    assert list(pieces([[3]], lengths.__getitem__, 0, Ranks(0, 2))) == [([3], True)]
    assert list(pieces([[3]], lengths.__getitem__, 0, Ranks(1, 2))) == [([3], False)]  # nothing left: does not count
    config = replace(CONFIG.train, batch_size=4, accumulate=3)
    steps = epoch_steps(train, config, 0, 0)
    assert [len(batches) for batches in steps] == [3, 1]
    assert sorted(index for batches in steps for batch in batches for index in batch) == list(range(16))


def test_learning_rates_are_functions_of_the_step() -> None:
    settings = TrainConfig(lr=1.0, epochs=10)
    assert [learning_rate(settings, epoch, 0, 7) for epoch in (0, 9)] == [1.0, 1.0]
    released = replace(settings, schedule="step")  # times 0.1 at epochs 3, 6, 10
    rates = [learning_rate(released, epoch, 6, 7) for epoch in range(10)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 4)
    cosine = replace(settings, schedule="cosine", epochs=2, warmup_steps=4)
    rates = [learning_rate(cosine, step // 6, step % 6, 6) for step in range(12)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[8] == pytest.approx(0.5)  # halfway between the end of the warm-up, 4, and the end, 12
    assert all(first > second for first, second in itertools.pairwise(rates[4:]))
    assert rates[11] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)  # the last step still moves


def test_warm_up_must_end(train: Bags) -> None:
    config = small_config("lec_vad", replace(CONFIG.train, warmup_steps=100))
    with pytest.raises(UsageError, match="warmup_steps: got 100, expected less than all 12 steps"):
        stepper(train, config)


@pytest.mark.parametrize("head", sorted(HEAD_CONFIGS))
def test_bf16_computes_networks_in_bfloat16_and_losses_in_float32(train: Bags, head: str) -> None:
    plain = stepper(train, small_config(head))
    mixed = stepper(train, small_config(head, replace(CONFIG.train, average=0.0, precision="bf16")))
    seen: set[torch.dtype] = set()
    for module in mixed.state.head.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _module, _args, out: seen.add(out.dtype))
    loss = mixed.state.head.loss
    kinds: set[torch.dtype] = set()

    def watched(out: tuple[object, ...], *rest: object) -> dict[str, Tensor]:
        kinds.update(item.dtype for item in out if isinstance(item, Tensor))
        parts: dict[str, Tensor] = loss(out, *rest)
        kinds.update(item.dtype for item in parts.values())
        return parts

    mixed.state.head.loss = watched
    expected, _ = after_step(plain, [list(range(8))])
    got, gradients = after_step(mixed, [list(range(8))])
    assert torch.bfloat16 in seen
    assert kinds == {torch.float32}
    assert {item.dtype for item in gradients.values()} == {torch.float32}
    assert got["total"] == pytest.approx(expected["total"], rel=0.05)
    assert got != expected


def test_outputs_are_turned_to_float32_and_nothing_else(train: Bags) -> None:
    head = build_head(small_config("lec_vad"), small_inputs())
    out = head(torch.randn(2, 5, SPEC.dim), torch.tensor([5, 3]))
    assert in_float32(None) is None
    assert in_float32(out).s_b is out.s_b
    assert in_float32(out._replace(prototypes=None)).prototypes is None
    assert in_float32(out._replace(s_b=out.s_b.bfloat16())).s_b.dtype == torch.float32


def test_a_loss_that_is_not_finite_ends_training(train: Bags) -> None:
    step = stepper(train, small_config("lec_vad"))
    before = copy.deepcopy(step.state.head.state_dict())
    with torch.no_grad():
        step.state.head.score_binary.bias.fill_(float("nan"))
    with pytest.raises(UsageError, match=r"not finite in epoch 1; lower train\.lr \(now 0\.001\)"):
        after_step(step, [[0, 1]])
    name = "score_classes.weight"
    assert torch.equal(step.state.head.state_dict()[name], before[name])  # no step was taken


def test_gradients_are_clipped_to_the_norm(train: Bags, tmp_path: Path) -> None:
    config = small_config("lec_vad", replace(CONFIG.train, average=0.0, clip_gradients=0.01))
    _, gradients = after_step(stepper(train, config), [list(range(8))])
    norm = torch.stack([item.norm() for name, item in gradients.items() if name != "memory"]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)
