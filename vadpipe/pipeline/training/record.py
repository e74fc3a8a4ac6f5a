"""What a run folder says beside the weights: what the run depends on, its figures, the videos it has seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadpipe.config import RunConfig, to_mapping
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.outside import MOST_JSON, parse_json, read_regular
from vadpipe.pipeline.project import SEEN_FILE
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.state import TrainState
from vadpipe.pipeline.training.teacher import Teacher
from vadpipe.pipeline.training.validate import Row, selection_figure
from vadpipe.track_file import atomic_write

HISTORY_FILE = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class FitResult:
    """The kept head, its epoch's figures, and every epoch's figures."""

    trained: TrainedHead
    best: Row
    history: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class RunInputs:
    """All that the result of a run depends on; what each is: :func:`vadpipe.pipeline.train.fit`."""

    train: Bags
    validation: Bags | None
    selection: Bags | None
    teacher: Teacher | None
    inputs: HeadInputs
    config: RunConfig
    seed: int

    def fingerprint(self) -> str:
        """sha256 over settings, classes, labels, truth, the content of all features, text features and teacher."""
        train = self.train
        described: dict[str, Any] = {
            "config": to_mapping(self.config),
            "spec": train.spec.digest,
            "classes": train.classes,
            "train": _told(train),
            "validation": _told(self.validation),
            "selection": _told(self.selection),
            "text": hashlib.sha256(self.inputs.text.float().cpu().numpy().tobytes()).hexdigest(),
            "seed": self.seed,
        }
        if train.audio_spec is not None:
            described["audio_spec"] = train.audio_spec.digest
        if self.inputs.tokens is not None:
            described["tokens"] = self.inputs.tokens.tolist()
        if self.teacher is not None:
            taught, sound = self.teacher.trained, self.teacher.trained.audio_spec
            described["teacher"] = [taught.sha256, to_mapping(taught.config), taught.spec.digest]
            described["teacher"] += [sound and sound.digest, _told(self.teacher.bags)]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _told(bags: Bags | None) -> list[Any]:
    """What a run depends on, video by video: labels, truth, and the content of the stored features."""
    return [
        (
            record.id,
            sorted(record.labels),
            [(span.category, span.start_frame, span.end_frame) for span in record.intervals],
            bags.content(index),
        )
        for index, record in enumerate(bags.records if bags is not None else ())
        if bags is not None
    ]


def finished_run(folder: Path, fingerprint: str, device: str) -> FitResult | None:
    """The finished run in ``folder``, None where there is none; :class:`UsageError` where it is another one."""
    if not (folder / "config.json").is_file():
        return None
    trained = load_head(folder, device)
    if trained.provenance.get("fingerprint") != fingerprint:
        raise UsageError(
            f"{folder} holds a finished run with other data or settings; give another --out, or --restart to replace it"
        )
    rows = read_history(folder)
    best = next((row for row in rows if row["epoch"] == trained.provenance.get("epoch")), None)
    if best is None:
        raise CheckpointError(f"{folder / HISTORY_FILE} lacks the figures of the kept epoch; train with --restart")
    return FitResult(trained, best, tuple(rows))


def _lines(path: Path) -> list[str]:
    return read_regular(path, MOST_JSON).decode().splitlines()


def read_history(folder: Path) -> list[Row]:
    """Figures of the epochs that are finished so far; :class:`CheckpointError` where the file is damaged."""
    path = folder / HISTORY_FILE
    try:
        rows = [parse_json(line) for line in _lines(path)] if path.is_file() else []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); train with --restart") from error
    if not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise CheckpointError(f"{path} is damaged (a line holds no epoch's figures); train with --restart")
    return rows


def write_history(folder: Path, history: Sequence[Row]) -> None:
    """Write ``metrics.jsonl``, one line an epoch."""
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in history)
    atomic_write(folder / HISTORY_FILE, text.encode())


def finish_run(folder: Path, state: TrainState, run: RunInputs, provenance: Mapping[str, Any]) -> None:
    """Write history, seen videos and the checkpoint of the kept epoch; its ``config.json``, last, is the done-marker.

    What the teacher has seen counts as seen.
    """
    config, facts = run.config, dict(provenance)
    best, head = state.best_row_and_head()
    write_history(folder, state.history)  # again: a kill may have come between the last state and its history
    taught = sorted(run.teacher.seen) if run.teacher is not None else []
    parts = {"train": _ids(run.train), "val": _ids(run.validation), "teacher": taught}
    seen = {name: ids for name, ids in parts.items() if ids}
    atomic_write(folder / SEEN_FILE, (json.dumps(seen, indent=1) + "\n").encode())
    if run.teacher is not None:
        facts["teacher_sha256"] = run.teacher.trained.sha256
        facts["teacher_selection"] = run.teacher.trained.selection
    facts |= {
        "seed": run.seed,
        "epoch": best["epoch"],
        "epochs": config.train.epochs,
        "training_videos": len(run.train),
        "validation_videos": len(run.validation) if run.validation is not None else 0,
        "fingerprint": state.fingerprint,
        **{name: round(value, 4) for name, value in best.items() if name.startswith(("frame_", "video_"))},
    }
    if run.train.audio_spec is not None:
        facts["training_videos_with_audio"] = sum(run.train.has_audio(index) for index in range(len(run.train)))
    said, data = selection_words(best, state.epoch, run), run.train
    save_head(folder, TrainedHead(head, config, data.spec, data.classes, said, facts, "", data.audio_spec))


def selection_words(best: Row, epochs: int, run: RunInputs) -> str:
    """Say which epoch was kept, by what, and on how many videos; and that the test set chose the teacher, if so."""
    settings, held_out = run.config.train, len(run.validation) if run.validation is not None else 0
    chosen = "the last epoch, selected on nothing"
    if settings.select != "last":
        where = "the TEST set (paper-test)" if settings.select == "paper-test" else f"{held_out} validation videos"
        chosen = f"selected by {selection_figure(best)[0]} on {where}"
    early = f" (stopped early, {settings.epochs} were allowed)" if epochs < settings.epochs else ""
    taught = "; its teacher was chosen on the TEST set" if run.teacher and run.teacher.trained.chosen_on_test else ""
    return f"epoch {best['epoch']:.0f} of {epochs}{early}, {chosen}{taught}"


def _ids(bags: Bags | None) -> list[str]:
    return sorted(record.id for record in bags.records) if bags is not None else []
