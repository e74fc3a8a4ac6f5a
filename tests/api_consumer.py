"""What a user's own typed code looks like: ``mypy --strict`` holds that no type of the public functions is lost."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from vadpipe import Detection, VadpipeError, detect, evaluate, extract, load, train
from vadpipe.api import Progress
from vadpipe.api_model import Model
from vadpipe.models.checkpoint import TrainedHead


def report(at: Progress) -> None:
    assert_type(at.what, str)
    assert_type(at.total, float | None)


def work(videos: Path) -> NDArray[np.float32]:
    """All five, with strings and paths, callbacks and settings."""
    summary = extract(videos, "features", weights={"clip": "random"}, limits={"stall_s": 30}, on_progress=report)
    assert_type(summary.failed, dict[str, str])
    result = train(out="run", head="lec_vad", train={"epochs": 1}, classes=["normal", "riot"], on_note=print)
    assert_type(result.trained, TrainedHead)
    assert_type(evaluate("run", bootstrap=0).auc, float)
    model = load(Path("run"), device="cpu", settings={"r_ano": 0.3})
    assert_type(model, Model)
    assert_type(model.detect("a.mp4"), Detection)
    try:
        found = detect("a.mp4", "run", weights="random", accept=["decoder"])
    except VadpipeError as error:
        raise SystemExit(error.exit_code) from error
    assert_type(found.intervals[0].start_s, float)
    return found.scores.per_frame()
