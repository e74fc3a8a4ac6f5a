"""A run's figures for TensorBoard, in ``<run>/tensorboard``; needs the extra of that name."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError
from vadpipe.pipeline.training.validate import Row

BOARD_FOLDER = "tensorboard"


class Board:
    """Writes one event per figure and epoch. What an earlier start of the run wrote is replaced, so nothing doubles."""

    def __init__(self, run: Path, earlier: Iterable[Row] = ()) -> None:
        writer = writer_class()
        shutil.rmtree(run / BOARD_FOLDER, ignore_errors=True)
        self._writer = writer(log_dir=str(run / BOARD_FOLDER))
        for row in earlier:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add an epoch: losses as ``loss/…``, figures as ``validation/…``, and ``lr``."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(_tag(name), value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _tag(name: str) -> str:
    if name.startswith("loss_"):
        return f"loss/{name.removeprefix('loss_')}"
    return name if name == "lr" else f"validation/{name}"


def writer_class() -> Any:
    """TensorBoard's writer; :class:`UsageError` with what to install where it is not there."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs a package: pip install 'vadpipe[tensorboard]'") from error
    return SummaryWriter
