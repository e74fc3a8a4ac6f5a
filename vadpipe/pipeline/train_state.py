"""Everything a training run needs to go on after a kill, in one file that is replaced atomically."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from vadpipe.config import TrainConfig
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.models.checkpoint import check_state
from vadpipe.track_file import atomic_write

STATE_FILE = "state.safetensors"


@dataclass(slots=True)
class TrainState:
    """Head, optimizer, averaged weights, best weights, figures so far. ``epoch`` counts finished epochs."""

    head: Any
    optimizer: torch.optim.AdamW
    settings: TrainConfig
    fingerprint: str
    average: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, float] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0

    @classmethod
    def resume_or_start(cls, folder: Path, head: Any, settings: TrainConfig, fingerprint: str) -> TrainState:
        """Continue the run in ``folder`` or begin one; :class:`UsageError` where it holds another run."""
        optimizer = torch.optim.AdamW(head.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        state = cls(head, optimizer, settings, fingerprint)
        if (folder / STATE_FILE).is_file():
            state._load(folder / STATE_FILE)
        return state

    def update_average(self) -> None:
        """Take one step of the exponential moving average of all weights and buffers."""
        decay = self.settings.average
        if not decay:
            return
        with torch.no_grad():
            for name, value in self.head.state_dict().items():
                if name not in self.average:
                    self.average[name] = value.clone()
                else:
                    self.average[name].lerp_(value, 1 - decay)

    def averaged(self) -> Any:
        """Return the head that is validated and saved: the averaged one, or the trained one itself."""
        if not self.settings.average:
            return self.head
        head = copy.deepcopy(self.head)
        head.load_state_dict(self.average)
        return head

    def finish_epoch(self, row: dict[str, float], *, better: bool) -> None:
        """Record an epoch's figures; where it is ``better``, keep its weights."""
        self.epoch += 1
        self.history.append(row)
        if better:
            self.best = row
            self.best_weights = {name: value.clone() for name, value in self.averaged().state_dict().items()}

    def best_row_and_head(self) -> tuple[dict[str, float], Any]:
        """Figures and a copy of the head of the kept epoch."""
        if self.best is None:
            raise CheckpointError("no epoch was finished")
        head = copy.deepcopy(self.head)
        head.load_state_dict(self.best_weights)
        return self.best, head.eval()

    def save(self, folder: Path) -> None:
        """Replace the state file by the present state."""
        names = [name for name, _ in self.head.named_parameters()]
        tensors = {f"head/{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{names[index]}/{slot}": value for slot, value in slots.items()}
        told = {"fingerprint": self.fingerprint, "epoch": self.epoch, "best": self.best, "history": self.history}
        content = save_tensors(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            metadata={"vadpipe": json.dumps(told)},
        )
        atomic_write(folder / STATE_FILE, content)

    def _load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                told = json.loads(file.metadata()["vadpipe"])
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); train with --restart") from error
        if told["fingerprint"] != self.fingerprint:
            raise UsageError(
                f"{path.parent} holds an unfinished run with other data or settings; give another --out, or --restart"
            )
        device = next(self.head.parameters()).device
        parts: dict[str, dict[str, Tensor]] = {"head": {}, "average": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value.to(device)
        check_state(self.head.state_dict(), parts["head"])
        self.head.load_state_dict(parts["head"])
        self.average, self.best_weights = parts["average"], parts["best"]
        self._load_optimizer(parts["optimizer"])
        self.epoch, self.best, self.history = told["epoch"], told["best"], told["history"]

    def _load_optimizer(self, slots: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for index, (name, _) in enumerate(self.head.named_parameters()):
            own = {key.rsplit("/", 1)[1]: value for key, value in slots.items() if key.rsplit("/", 1)[0] == name}
            if own:
                state[index] = own
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
