"""One optimiser step, however its videos are cut into batches, micro-batches and ranks; and one epoch of steps.

``begin_step`` -> for each piece: forward, loss times (videos of the piece / videos of the step over all ranks),
backward -> ``end_step`` -> gradients summed over ranks -> clipped -> optimiser -> ``after_step`` -> average of weights.
Every loss part is a mean over videos, so the weighted sum is the loss of the whole step, and so is its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vadpipe.config import RunConfig, TrainConfig
from vadpipe.errors import UsageError
from vadpipe.models.losses import snippet_mask
from vadpipe.pipeline.training.bags import Bags, epoch_batches
from vadpipe.pipeline.training.ranks import ALONE, Ranks
from vadpipe.pipeline.training.state import TrainState
from vadpipe.pipeline.training.teacher import Teacher
from vadpipe.pipeline.training.validate import Row


def learning_rate(settings: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """Rate of step ``step`` (from 0) of epoch ``epoch`` (from 0) with ``steps`` steps an epoch.

    A pure function, so a resumed run goes on where it was. ``step`` follows the released AVadCLIP training: the rate
    falls when so many epochs are finished, so a 10 among 10 epochs changes nothing.
    """
    done, total, warm = epoch * steps + step, settings.epochs * steps, settings.warmup_steps
    rise = min((done + 1) / warm, 1.0) if warm else 1.0
    if settings.schedule == "cosine":
        part = max(done - warm, 0) / max(total - warm, 1)
        return settings.lr * rise * (1 + math.cos(math.pi * part)) / 2
    if settings.schedule == "step":
        return settings.lr * rise * settings.step_factor ** sum(epoch >= passed for passed in settings.step_epochs)
    return settings.lr * rise


def epoch_steps(bags: Bags, settings: TrainConfig, seed: int, epoch: int) -> list[list[list[int]]]:
    """Every step of an epoch as its batches of indices; the last step may have fewer batches."""
    size, join = settings.batch_size, settings.accumulate
    batches = list(epoch_batches(bags, size, balanced=settings.balanced, seed=seed, epoch=epoch))
    return [batches[at : at + join] for at in range(0, len(batches), join)]


def pieces(
    batches: Sequence[Sequence[int]], lengths: Callable[[int], int], micro_batch: int, ranks: Ranks = ALONE
) -> Iterator[tuple[list[int], bool]]:
    """One rank's part of a step as (indices computed at once, whether they count).

    Without ``micro_batch`` a piece is a batch; with it, the step's videos are sorted by length first, so that each
    piece is padded only to its own longest. A rank that a small step leaves without videos computes one that does not
    count: it takes part in the sums, and has to know their shapes.
    """
    step = [index for batch in batches for index in batch]
    if micro_batch:
        own = sorted(ranks.share(step, _lengths(step, lengths, ranks)), key=lengths)
        shares = [own[at : at + micro_batch] for at in range(0, len(own), micro_batch)]
    else:
        shares = [ranks.share(batch, _lengths(batch, lengths, ranks)) for batch in batches]
    shares = [share for share in shares if share]
    yield from ((share, True) for share in shares)
    if not shares:
        yield step[:1], False


def _lengths(indices: Sequence[int], lengths: Callable[[int], int], ranks: Ranks) -> list[int]:
    return [lengths(index) for index in indices] if ranks.world > 1 else []  # alone, nothing is dealt


@dataclass(slots=True)
class Stepper:
    """Takes the steps of a run: everything that they need, in one place."""

    state: TrainState
    bags: Bags
    config: RunConfig
    seed: int
    ranks: Ranks = ALONE
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        settings = self.config.train
        total = settings.epochs * len(epoch_steps(self.bags, settings, self.seed, 0))
        if settings.warmup_steps >= total:
            raise UsageError(f"train.warmup_steps: got {settings.warmup_steps}, expected less than all {total} steps")
        gpu = self._device().type == "cuda"
        if settings.precision == "bf16" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UsageError("train.precision: this GPU has no bfloat16; use float32")

    def epoch(self, on_step: Callable[[float], None] | None = None) -> Row:
        """Run one epoch; mean of every loss part over its steps, and the last rate.

        Seeded by (seed, epoch), so that a resumed run takes the same steps; further ranks drop out other values.
        ``on_step`` is told how many epochs are done, as a fraction.
        """
        state, settings = self.state, self.config.train
        stream = [self.seed, state.epoch, 1, *([self.ranks.rank] if self.ranks.rank else [])]
        torch.manual_seed(int(np.random.default_rng(stream).integers(2**31)))
        state.head.train()
        steps = epoch_steps(self.bags, settings, self.seed, state.epoch)
        totals: dict[str, list[float]] = {}
        rate = settings.lr
        for number, batches in enumerate(steps):
            rate = learning_rate(settings, state.epoch, number, len(steps))
            for name, value in self.step(batches, rate).items():
                totals.setdefault(f"loss_{name}", []).append(value)
            if on_step is not None:
                on_step(state.epoch + (number + 1) / len(steps))
        return {"lr": rate} | {name: float(np.mean(values)) for name, values in totals.items()}

    def step(self, batches: Sequence[Sequence[int]], rate: float) -> dict[str, float]:
        """Take one step on all videos of ``batches``; the step's loss parts over all ranks."""
        state, settings = self.state, self.config.train
        head, videos = state.head, sum(len(batch) for batch in batches)
        state.set_rate(rate)
        state.optimizer.zero_grad(set_to_none=True)
        head.begin_step()
        parts: dict[str, Tensor] = {}
        sums: Tensor | None = None
        for indices, counts in pieces(batches, self.bags.length, settings.micro_batch, self.ranks):
            out, losses = self._forward(indices)
            weight = len(indices) / videos if counts else 0.0
            torch.autograd.backward(losses["total"] * weight)
            for name, value in losses.items():
                own = value.detach().float() * weight
                parts[name] = parts[name] + own if name in parts else own
            summed = head.step_sums(out)
            if summed is not None:
                summed = summed if counts else summed * 0
                sums = summed if sums is None else sums + summed
        head.end_step()
        self.ranks.sum_gradients(head.parameters())
        values = dict(zip(parts, self.ranks.sum(torch.stack(list(parts.values()))).tolist(), strict=True))
        self._check_finite(torch.tensor(values["total"]))
        if settings.clip_gradients:
            torch.nn.utils.clip_grad_norm_(head.parameters(), settings.clip_gradients)
        state.optimizer.step()
        head.after_step(None if sums is None else self.ranks.sum(sums) / videos)
        state.update_average()
        return values

    def _forward(self, indices: Sequence[int]) -> tuple[Any, dict[str, Tensor]]:
        head, device = self.state.head, self._device()
        taught = None
        if self.teacher is None:
            batch = self.bags.batch(indices).to(device)
        else:
            whole = self.teacher.bags.batch(indices).to(device)
            batch = self.teacher.for_student(whole)
            with self._autocast(device):
                taught = self.teacher.output(whole)
        with self._autocast(device):
            out = in_float32(head(batch.video, batch.lengths, batch.audio, batch.has_audio))
        self._check_finite(out.anomaly[snippet_mask(batch.lengths, out.anomaly.shape[1])])
        return out, head.loss(out, batch.targets, batch.lengths, in_float32(taught))

    def _check_finite(self, values: Tensor) -> None:
        """Before the loss, which on a GPU would not survive such scores: cross-entropy asserts there."""
        if not bool(torch.isfinite(values).all()):
            number, rate = self.state.epoch + 1, self.state.optimizer.param_groups[0]["lr"]
            raise UsageError(f"scores or loss are not finite in epoch {number}; lower train.lr (now {rate:g})")

    def _device(self) -> torch.device:
        device: torch.device = next(iter(self.state.head.parameters())).device
        return device

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.config.train.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def in_float32(out: Any) -> Any:
    """A head's output (a named tuple) with every floating tensor in float32, so that losses are; None stays None."""
    if out is None:
        return None
    floats = [item.float() if isinstance(item, Tensor) and item.is_floating_point() else item for item in out]
    return type(out)(*floats)  # float() of a float32 tensor is the tensor itself
