"""Several processes that train one head together, as torchrun starts them: each takes its share of every batch.

Gradients are summed by hand rather than by DistributedDataParallel: shares are uneven, and every loss already carries
the weight (videos of the piece / videos of the step), so that the sum over ranks is the gradient of the whole batch,
where the wrapper's mean over ranks would weigh a video of a small share more. Nothing is pickled between ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vadpipe.errors import UsageError, VadpipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

BUCKET_VALUES = 4 << 20  # gradients are sent 16 MiB at a time
_PATIENCE = timedelta(hours=1)  # the others wait while the first rank validates


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among ``world``; every method but :meth:`share` is a no-op where it is alone.

    Each has to be called by all ranks in the same order; :class:`VadpipeError` where another one has gone.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """Own part of ``items``: dealt by length, to and fro, so that counts differ by at most one and work by little.

        ``lengths`` are the items' own. Alone: all of them, in their order.
        """
        if self.world == 1:
            return list(items)
        longest_first = sorted(range(len(items)), key=lambda place: -lengths[place])
        rounds = [longest_first[at : at + self.world] for at in range(0, len(items), self.world)]
        places = [self.rank if number % 2 == 0 else self.world - 1 - self.rank for number in range(len(rounds))]
        return [items[dealt[place]] for dealt, place in zip(rounds, places, strict=True) if place < len(dealt)]

    def sum(self, values: Tensor) -> Tensor:
        """``values``, which every rank has in the same shape, summed over ranks in place."""
        if self.world > 1:
            import torch.distributed as dist

            with self._together():
                dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over ranks; a parameter that no rank has one for keeps None."""
        if self.world == 1:
            return
        import torch

        trained = [parameter for parameter in parameters if parameter.requires_grad]
        have = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        counts = self.sum(have.to(self.device)).tolist()
        for bucket in _buckets([parameter for parameter, count in zip(trained, counts, strict=True) if count]):
            own = [torch.zeros_like(item) if item.grad is None else item.grad for item in bucket]
            summed = self.sum(torch.cat([gradient.flatten() for gradient in own]))
            for item, part in zip(bucket, torch.split(summed, [item.numel() for item in bucket]), strict=True):
                item.grad = part.view_as(item)

    def from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by the first rank's."""
        if self.world > 1:
            import torch.distributed as dist

            with self._together():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def told(self, value: Any) -> Any:
        """What the first rank passes in, at every rank; plain values, sent as JSON."""
        if self.world == 1:
            return value
        import torch

        content = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(content)], device=self.device)
        self.from_first([size])
        sent = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.first:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self.from_first([sent])
        return json.loads(bytes(sent.tolist()))

    def agree(self, what: str, text: str) -> None:
        """Compare a text over ranks; :class:`VadpipeError` at every one of them where it differs."""
        if self.world == 1:
            return
        import torch

        own = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.int32)
        table = torch.zeros(self.world, 32, dtype=torch.int32, device=self.device)
        table[self.rank] = own.to(self.device)
        if bool((self.sum(table) != table[0]).any()):
            raise VadpipeError(
                f"the {self.world} ranks differ in {what}; give all the same command, files and machines"
            )

    def wait(self) -> None:
        """Go on when every rank is here."""
        self.agree("nothing", "")

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise VadpipeError(
                f"rank {self.rank} lost the other ranks ({str(error).splitlines()[0][:120]}); "
                "one of them has ended, its own message says why. Finished epochs are kept"
            ) from error


ALONE = Ranks()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(item.numel() for item in bucket) + parameter.numel() > BUCKET_VALUES:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def own_rank() -> int:
    """Rank of this process by its environment, without torch; 0 where it is alone."""
    return _number("RANK", 0) if _number("WORLD_SIZE", 1) > 1 else 0


@contextmanager
def joined_ranks(device: str = "cpu") -> Iterator[Ranks]:
    """Join the ranks that torchrun started, with gloo on CPUs and NCCL on GPUs; without torchrun, be alone.

    ``device``: ``cpu``, or ``cuda`` for GPU number ``LOCAL_RANK``. :class:`UsageError` where the environment is
    incomplete or a rank has no GPU of its own.
    """
    world = _number("WORLD_SIZE", 1)
    if world <= 1:
        yield Ranks(device=device)
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UsageError(f"WORLD_SIZE is {world}, but {', '.join(missing)} is not set; start with torchrun")
    import torch.distributed as dist

    ranks = Ranks(_number("RANK", 0), world, _own_device(device))
    try:
        dist.init_process_group("nccl" if device != "cpu" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise VadpipeError(f"rank {ranks.rank} cannot join the others: {str(error).splitlines()[0]}") from error
    yield ranks
    dist.destroy_process_group()  # not after an error: it could wait for ranks that wait for this one


def _own_device(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    if device != "cuda":
        raise UsageError(f"--device {device}: under torchrun each rank takes its own GPU; say cuda")
    local = _number("LOCAL_RANK", 0)
    if local >= torch.cuda.device_count():
        raise UsageError(
            f"rank {local} of this machine has no GPU: torch sees {torch.cuda.device_count()}; "
            "lower torchrun's --nproc-per-node, or use --device cpu"
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise UsageError(f"environment variable {name}: got {text!r}, expected a number")
    return int(text)
