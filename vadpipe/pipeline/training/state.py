"""Everything a training run needs to go on after a kill, in one file that is replaced atomically."""

from __future__ import annotations

import copy
import hashlib
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
from vadpipe.outside import parse_json, require_regular
from vadpipe.track_file import atomic_write

STATE_FILE = "state.safetensors"


@dataclass(slots=True)
class TrainState:
    """Head, optimizer, averaged weights, best weights, figures so far. ``epoch`` counts finished epochs.

    The learning rate, the random numbers and early stopping need nothing beside: all three are functions of the
    settings, the seed, ``epoch`` and ``history``.
    """

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
        if (folder / STATE_FILE).exists():
            state._load(folder / STATE_FILE)
        return state

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update_average(self) -> None:
        """Take one step of the exponential moving average of all weights and buffers; counters are copied."""
        decay = self.settings.average
        if not decay:
            return
        with torch.no_grad():
            for name, value in self.head.state_dict().items():
                if name not in self.average or not value.is_floating_point():
                    self.average[name] = value.clone()
                else:
                    self.average[name].lerp_(value, 1 - decay)

    def scoring_head(self) -> Any:
        """Return the head that is validated and saved, in eval mode: the averaged one, or the trained one itself."""
        if not self.settings.average:
            return self.head.eval()
        head = copy.deepcopy(self.head)
        head.load_state_dict(self.average)
        return head.eval()

    def finish_epoch(self, row: dict[str, float], scoring: Any, *, better: bool) -> None:
        """Record an epoch's figures; where it is ``better``, keep the weights of the head that they belong to."""
        self.epoch += 1
        self.history.append(row)
        if better:
            self.best = row
            self.best_weights = {name: value.clone() for name, value in scoring.state_dict().items()}

    def digest(self) -> str:
        """sha256 of all that the next step starts from: weights, buffers, optimizer."""
        digest = hashlib.sha256(str(self.epoch).encode())
        for name, value in self._trained().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def best_row_and_head(self) -> tuple[dict[str, float], Any]:
        """Figures and a copy of the head of the kept epoch."""
        if self.best is None:
            raise CheckpointError("no epoch was finished")
        head = copy.deepcopy(self.head)
        head.load_state_dict(self.best_weights)
        return self.best, head.eval()

    def save(self, folder: Path) -> None:
        """Replace the state file by the present state."""
        tensors = self._trained() | {f"best/{name}": value for name, value in self.best_weights.items()}
        told = {"fingerprint": self.fingerprint, "epoch": self.epoch, "best": self.best, "history": self.history}
        content = save_tensors(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            metadata={"vadpipe": json.dumps(told)},
        )
        atomic_write(folder / STATE_FILE, content)

    def _trained(self) -> dict[str, Tensor]:
        names = [name for name, _ in self.head.named_parameters()]
        tensors: dict[str, Tensor] = {f"head/{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{names[index]}/{slot}": value for slot, value in slots.items()}
        return tensors

    def _load(self, path: Path) -> None:
        try:
            require_regular(path)
            with safe_open(path, framework="pt", device="cpu") as file:
                told = parse_json(file.metadata()["vadpipe"])
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
            parts.setdefault(part, {})[rest] = placed(name, value, device)
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


def placed(name: str, value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the state file where training wants it: AdamW reads its step counters on the CPU at every step."""
    return value if name.startswith("optimizer/") and name.endswith("/step") else value.to(device)
