"""``vadpipe train``: features + video-level labels -> a head. ``fit`` never sees the test set.

A run folder holds ``state.safetensors`` (everything needed to go on after a kill, replaced once an epoch),
``metrics.jsonl``, ``curve.png`` and, once finished, the checkpoint. Running the same command again resumes or returns
the finished run; with other settings it refuses. One step is :mod:`vadpipe.pipeline.training.step`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vadpipe.config import RunConfig
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.ranks import ALONE, Ranks
from vadpipe.pipeline.training.record import FitResult, RunInputs, finish_run, finished_run, write_history
from vadpipe.pipeline.training.state import TrainState
from vadpipe.pipeline.training.step import Stepper
from vadpipe.pipeline.training.teacher import Teacher
from vadpipe.pipeline.training.validate import Row, is_better, is_stalled, validate

__all__ = ["FitResult", "Row", "fit", "validate"]


def fit(
    train: Bags,
    validation: Bags | None,
    inputs: HeadInputs,
    config: RunConfig,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    selection: Bags | None = None,
    teacher: Teacher | None = None,
    ranks: Ranks = ALONE,
    provenance: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    on_step: Callable[[float], None] | None = None,
) -> FitResult:
    """Train one head and write its run folder.

    train, validation
        Bags with the same classes; both must hold normal and anomalous videos. None: nothing is held out.
    inputs
        What the head is built from; text features (C+1, dim) of the class prompts among it.
    selection
        Only for ``select = "paper-test"``: the bags on which the best epoch is picked. Nothing else may be passed.
    teacher
        For students that distil; its bags hold the records of ``train``.
    ranks
        This process's place among several; all call ``fit`` alike and see the same files, the first writes.
    on_epoch, on_step
        Told an epoch's figures (first rank only); told after every step how many epochs are done, as a fraction.
    """
    _check(train, validation, selection, teacher, config)
    run = RunInputs(train, validation, selection, teacher, inputs, config, seed)
    fingerprint = run.fingerprint()
    ranks.agree("data, settings or text features", fingerprint)
    finished = finished_run(folder, fingerprint, device)
    ranks.agree(f"what they see in {folder}", f"finished: {finished is not None}")
    if finished is not None:
        return finished
    stepper = Stepper(_start(folder, run, fingerprint, device, ranks), train, config, seed, ranks, teacher)
    _run_epochs(stepper, selection or validation, folder, on_epoch, on_step)
    if ranks.first:
        facts = {"ranks": ranks.world} if ranks.world > 1 else {}
        finish_run(folder, stepper.state, run, {**(provenance or {}), **facts})
    ranks.wait()
    result = finished_run(folder, fingerprint, device)
    if result is None:
        raise CheckpointError(f"{folder} holds no finished head; is the folder there for every rank?")
    return result


def _run_epochs(
    stepper: Stepper,
    watched: Bags | None,
    folder: Path,
    on_epoch: Callable[[Row], None] | None,
    on_step: Callable[[float], None] | None,
) -> None:
    """All epochs that are left; after each the state is on disk."""
    state, ranks, config = stepper.state, stepper.ranks, stepper.config
    while state.epoch < config.train.epochs and not is_stalled(state.history, config.train.early_stopping):
        losses = stepper.epoch(on_step)
        head = state.scoring_head()
        figures = validate(head, watched, config) if ranks.first and watched is not None else {}
        row: Row = {"epoch": float(state.epoch + 1), **losses, **ranks.told(figures)}
        state.finish_epoch(row, head, better=is_better(row, state.best, config.train.select))
        if ranks.world > 1:
            ranks.agree(f"weights after epoch {state.epoch}", state.digest())
        if ranks.first:
            state.save(folder)
            write_history(folder, state.history)
            if on_epoch is not None:
                on_epoch(row)


def _check(
    train: Bags, validation: Bags | None, selection: Bags | None, teacher: Teacher | None, config: RunConfig
) -> None:
    if (selection is not None) != (config.train.select == "paper-test"):
        raise UsageError("test data belongs to select = 'paper-test' and to nothing else")
    if config.train.select == "validation" and validation is None:
        raise UsageError("train.select = 'validation', but there are no validation videos; hold some out, or take last")
    for name, bags in (("training", train), ("validation", validation)):
        if bags is not None and len({record.is_anomalous for record in bags.records}) != 2:
            raise UsageError(f"{name} videos are all of one kind; both normal and anomalous ones are needed")
    distill = getattr(config.model, "distill", "none")
    if (teacher is not None) != (distill != "none"):
        raise UsageError(
            f"model.distill = {distill!r} needs a teacher: pass --teacher RUN, or set model.distill = 'none'"
            if teacher is None
            else f"{config.head} with these settings learns from no teacher"
        )
    if teacher is not None and [record.id for record in teacher.bags.records] != [
        record.id for record in train.records
    ]:
        raise UsageError("the teacher's bags hold other videos than the student's")


def _start(folder: Path, run: RunInputs, fingerprint: str, device: str, ranks: Ranks) -> TrainState:
    """Build the head and go on from the state in ``folder``, or from the start; the same at every rank."""
    config, train = run.config, run.train
    torch.manual_seed(run.seed)
    head = build_head(config, run.inputs)
    if config.model.standardise != "none" and ranks.first:  # the others get them with the weights
        if getattr(config.model, "modality", "visual") != "audio":
            head.set_statistics("video", *train.statistics())
        if config.model.uses_audio:
            head.set_statistics("audio", *train.statistics(sound=True))
    head.to(device)
    state = TrainState.resume_or_start(folder, head, config.train, fingerprint)
    ranks.agree(f"the state they see in {folder}", str(state.epoch))
    if state.epoch == 0:
        ranks.from_first(head.state_dict().values())
    return state
