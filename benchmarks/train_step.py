"""One optimiser step of every head: the field's usual way, ours, bfloat16, and leaving padding out, in one run.

    python benchmarks/train_step.py [--heads vadclip avadclip avadclip_student lec_vad] [--repeats 1] [--batch 96]
                                    [--threads 2] [--device cpu] [--steps "usual float32" float32 ...]

A step is forward, losses, backward and AdamW on ``--batch`` videos of 512 columns (audio 512 more for the audio-visual
head), 7 classes, CLIP's text tower at full size with random weights. The videos' lengths are evenly spaced quantiles of
XD-Violence's test set (tests/data). No dropout, learning rate 0, so that every step has the same losses.

usual float32 / usual bf16
    benchmarks/usual_step.py, benchmarks/usual_lec_vad.py; bf16: the same under autocast (not among the defaults).
float32 / bf16
    Ours with all videos at once and padded to 256, where the padding is computed like the rest: ``padding =
    "released"``. It is in this mode that losses have to equal the usual way's, to 1e-4, or the script fails, before and
    after timing. LEC-VAD has no such mode: its padding is computed too, but never counts, either way.
float32 / bf16 by length
    Ours with ``padding = "masked"`` and micro-batches of 16 videos sorted by length, which is what we recommend.

Each step runs in a process of its own, for its peak of memory, after one with half the videos; ``--repeats`` goes round
all of them again and keeps the fastest. Processor seconds stand beside the clock's, since they hold on a machine that
does other work too, best with ``--threads 1``. The student's step holds its frozen teacher's forward pass. On a GPU
(``--device cuda``) the clock waits for it between the parts; that has not been tried yet.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from usual_lec_vad import UsualLecVad
from usual_step import UsualClip

from vadpipe.config import RunConfig, run_config
from vadpipe.extractors.compute import checked_device, keep_freed_blocks
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.text_tower import TextTower
from vadpipe.pipeline.training.bags import Batch
from vadpipe.pipeline.training.state import TrainState
from vadpipe.pipeline.training.step import Stepper
from vadpipe.pipeline.training.teacher import Teacher

LENGTHS = Path(__file__).parents[1] / "tests" / "data" / "metrics_xd.npz"
HEADS = ("vadclip", "avadclip", "avadclip_student", "lec_vad")
STEPS = ("usual float32", "usual bf16", "float32", "bf16", "float32 by length", "bf16 by length")
CLASSES, DIM, SNIPPETS, MICRO, EPOCH = 7, 512, 256, 16, 3954
NO_DROPOUT = {"avadclip": {"audio_dropout": 0.0}, "lec_vad": {"dropout": 0.0}}

Losses = dict[str, float]


@dataclass
class Videos:
    """What a step asks of its bags, in memory. ``whole``: every batch is padded to 256 snippets."""

    lengths: list[int]
    audio: bool
    whole: bool = True

    def __post_init__(self) -> None:
        random = torch.Generator().manual_seed(2)
        self.rows = [0.3 + 0.3 * torch.randn(length, DIM, generator=random) for length in self.lengths]
        self.sounds = [torch.randn(length, DIM, generator=random) for length in self.lengths] if self.audio else []
        self.targets = torch.eye(CLASSES)[torch.arange(len(self.lengths)) % CLASSES]

    def __len__(self) -> int:
        return len(self.lengths)

    def length(self, index: int) -> int:
        """Snippets of a video."""
        return self.lengths[index]

    def batch(self, indices: Sequence[int]) -> Batch:
        """As :meth:`vadpipe.pipeline.training.bags.Bags.batch`."""
        lengths = torch.tensor([self.lengths[index] for index in indices])
        audio = self._padded(self.sounds, indices) if self.audio else None
        return Batch(self._padded(self.rows, indices), self.targets[list(indices)], lengths, audio)

    def _padded(self, rows: list[Tensor], indices: Sequence[int]) -> Tensor:
        out = torch.zeros(len(indices), SNIPPETS if self.whole else max(map(self.length, indices)), DIM)
        for place, index in enumerate(indices):
            out[place, : len(rows[index])] = rows[index]
        return out


def quantiles(count: int) -> list[int]:
    """Lengths of XD-Violence's test videos at evenly spaced ranks, 256 at most."""
    known = np.sort(np.minimum(np.load(LENGTHS)["snippets"], SNIPPETS))
    return [int(known[place]) for place in ((np.arange(count) + 0.5) / count * len(known)).astype(int)]


def made_inputs() -> HeadInputs:
    """Seven made-up class names of two tokens, and a text tower of 12 blocks and 512 columns with random weights."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for name, value in TextTower(DIM, 12, 8, 512, 77, DIM).state_dict().items():
        drawn = torch.randn(value.shape, generator=random)
        plain = 1.0 if name.endswith("weight") else 0.0
        state[name] = plain + 0.1 * drawn if value.ndim == 1 else drawn / value.shape[-1] ** 0.5
    text = torch.randn(CLASSES, DIM, generator=random)
    return HeadInputs(DIM, text, DIM, made_tokens(), TextTower.from_state(state))


def made_tokens() -> torch.Tensor:
    """(classes, 77) of the made-up names."""
    tokens = torch.zeros(CLASSES, 77, dtype=torch.int64)
    tokens[:, :4] = torch.tensor([[510, 5 + row, 9, 511] for row in range(CLASSES)])
    return tokens


def settings(head: str, step: str) -> RunConfig:
    """The paper's settings of a head, without dropout and with a random start (else most gradients are zero)."""
    lean = step.endswith("by length")
    model: dict[str, Any] = {"zero_init": False, **NO_DROPOUT.get(head, {})}
    if head != "lec_vad":
        model["padding"] = "masked" if lean else "released"
    streams = {"audio_stream": "sound"} if head == "avadclip" else {}
    config = run_config({"head": head, "stream": "clip", "model": model, **streams})
    precision = "bf16" if "bf16" in step else "float32"
    train = replace(config.train, precision=precision, micro_batch=MICRO if lean else 0, balanced=False)
    return replace(config, train=train)


def our_step(head: str, step: str, lengths: list[int], device: str) -> Stepper:
    """What takes our steps on such videos; the student's teacher is the audio-visual head, untrained."""
    config, inputs = settings(head, step), made_inputs()
    videos: Any = Videos(lengths, head.startswith("avadclip"), whole=config.train.micro_batch == 0)  # for Bags
    torch.manual_seed(0)
    network = build_head(config, inputs).to(device).train()
    state = TrainState(network, torch.optim.AdamW(network.parameters(), lr=0.0), config.train, "")
    teacher: Any = None
    if head == "avadclip_student":
        spec: Any = SimpleNamespace(digest="")
        trained: Any = SimpleNamespace(head=build_head(settings("avadclip", step), inputs).to(device), spec=spec)
        teacher = Teacher(trained, videos, spec)
    return Stepper(state, videos, config, 0, teacher=teacher)


class UsualStep:
    """The usual way to do what a :class:`Stepper` does, with that one's weights and videos."""

    def __init__(self, head: str, like: Stepper, device: str, *, bf16: bool) -> None:
        kind: Any = UsualLecVad if head == "lec_vad" else UsualClip
        self.network = kind(like.state.head).to(device).train()
        self.teacher = None if like.teacher is None else kind(like.teacher.trained.head).to(device).eval()
        self.videos, self.tokens = like.bags, made_tokens().to(device)
        trained = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)
        self.autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16)
        self.device = torch.device(device)

    def step(self, batches: Sequence[Sequence[int]], _rate: float) -> Losses:
        """One step on all videos at once."""
        batch = self.videos.batch([index for part in batches for index in part]).to(self.device)
        taught = self.taught(batch)
        audio = None if self.teacher is not None else batch.audio
        with self.autocast:
            out = self.network(batch.video, batch.lengths, self.tokens, audio)
        losses: dict[str, Tensor] = self.network.losses(out, batch.targets, batch.lengths, taught)
        self.optimizer.zero_grad()
        torch.autograd.backward(losses["total"])
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    @torch.no_grad()
    def taught(self, batch: Batch) -> Tensor | None:
        """The teacher's features of a batch."""
        if self.teacher is None:
            return None
        with self.autocast:
            features: Tensor = self.teacher(batch.video, batch.lengths, self.tokens, batch.audio)["features"]
        return features.float()


class Clock:
    """Seconds of the clock and of the processor, also of single calls."""

    def __init__(self, device: str) -> None:
        self.device, self.parts = device, dict[str, np.ndarray[Any, Any]]()

    def now(self) -> np.ndarray[Any, Any]:
        """(2,) seconds."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        return np.array([time.perf_counter(), time.process_time()])

    def watch(self, part: str, owner: Any, name: str) -> None:
        """Add up what calls of ``owner.name`` take, where there is such a thing."""
        work: Callable[..., Any] | None = getattr(owner, name, None)
        if work is None:
            return

        def timed(*given: Any, **named: Any) -> Any:
            start = self.now()
            result = work(*given, **named)
            self.parts[part] = self.parts.get(part, 0) + self.now() - start
            return result

        setattr(owner, name, timed)

    def watch_step(self, step: Any) -> None:
        """Watch the parts of our step or of the usual one."""
        usual = isinstance(step, UsualStep)
        network, optimizer = (step.network, step.optimizer) if usual else (step.state.head, step.state.optimizer)
        for part, owner, name in (
            ("video", network, "encode_video"),
            ("video", network, "encode"),
            ("video", getattr(network, "video", None), "forward"),
            ("audio", getattr(network, "audio", None), "forward"),
            ("audio", getattr(network, "temporalconvnet", None), "forward"),
            ("text", network, "encode_text"),
            ("text", getattr(getattr(network, "prompts", None), "tower", None), "forward"),
            ("teacher", step, "taught"),
            ("losses", network, "losses"),
            ("losses", network, "loss"),
            ("backward", torch.autograd, "backward"),
            ("AdamW", optimizer, "step"),
        ):
            self.watch(part, owner, name)


def check(head: str, lengths: list[int], device: str) -> None:
    """Stop where the usual way and ours, or padding and leaving it out, give other losses or gradients."""
    few = [lengths[place] for place in np.linspace(0, len(lengths) - 1, min(6, len(lengths))).astype(int)]
    every = [list(range(len(few)))]
    ours = our_step(head, "float32", few, device)
    usual = UsualStep(head, ours, device, bf16=False)  # first, as LEC-VAD's step changes its memory
    expected, got = usual.step(every, 0.0), ours.step(every, 0.0)
    compare(head, expected, got, 1e-4)
    norms = [_gradient(network) for network in (usual.network, ours.state.head)]
    compare(f"{head}, gradient", {"norm": norms[0]}, {"norm": norms[1]}, 1e-3)
    lean, whole = (our_step(head, "float32 by length", few, device) for _ in range(2))
    for step, micro in ((lean, 2), (whole, 0)):
        step.config = replace(step.config, train=replace(step.config.train, micro_batch=micro))
    padded: Any = whole.bags  # Videos, which Stepper knows as Bags
    padded.whole = True
    compare(f"{head} by length", whole.step(every, 0.0), lean.step(every, 0.0), 1e-4)


def _gradient(network: torch.nn.Module) -> float:
    squares = [float(value.grad.square().sum()) for value in network.parameters() if value.grad is not None]
    return math.sqrt(sum(squares))


def compare(what: str, expected: Losses, got: Losses, tolerance: float) -> None:
    """Exit with a message where a value is further off than ``tolerance``, relatively."""
    for name, value in expected.items():
        if not abs(got[name] - value) <= tolerance * max(abs(value), 1e-3):
            sys.exit(f"{what}: {name} is {got[name]}, expected {value}")


def work(options: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own does: take one step of one kind and tell its figures."""
    head, step = options.work
    lengths, device = quantiles(options.batch), options.device
    if step == "check":
        check(head, lengths, device)
        return {"gflop": products(head, options.batch)}
    if step == "ceilings":
        return ceilings(options)
    if not step.startswith("usual") and device == "cpu":
        keep_freed_blocks()  # as `vadpipe train` has it from CLIP's text encoder
    ours = our_step(head, step, lengths, device)
    taken: Any = UsualStep(head, ours, device, bf16="bf16" in step) if step.startswith("usual") else ours
    del ours
    taken.step([list(range(0, len(lengths), 2))], 0.0)
    clock = Clock(device)
    clock.watch_step(taken)
    if isinstance(taken, Stepper) and taken.teacher is not None:
        clock.watch("teacher", Teacher, "output")
    start = clock.now()
    losses = taken.step([list(range(len(lengths)))], 0.0)
    seconds = clock.now() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    parts = {name: value.tolist() for name, value in clock.parts.items()}
    memory = torch.cuda.max_memory_allocated(device) if device != "cpu" else peak
    return {"seconds": seconds.tolist(), "parts": parts, "bytes": memory, "losses": losses}


def ceilings(options: argparse.Namespace) -> dict[str, float]:
    """GFLOP/s of the largest matrix product of a step, (24576, 512) x (512, 2048); on a CPU by processor seconds."""
    clock, found = Clock(options.device), {}
    for kind in (torch.float32, torch.bfloat16):
        x, weight = (torch.randn(shape, device=options.device).to(kind) for shape in ((24576, DIM), (4 * DIM, DIM)))
        rounds = []
        for _ in range(6):
            start = clock.now()
            F.linear(x, weight)
            wall, cpu = clock.now() - start
            rounds.append(cpu / options.threads if options.device == "cpu" else wall)
        found["bf16" if kind == torch.bfloat16 else "float32"] = 2e-9 * len(x) * DIM * 4 * DIM / min(rounds)
    return found


def products(head: str, batch: int) -> float:
    """GFLOP of our step's matrix products for so many videos of 256 snippets, the text tower's included."""
    counted: list[float] = []
    for videos in (1, 2):
        step = our_step(head, "float32", [SNIPPETS] * videos, "cpu")
        with FlopCounterMode(display=False) as counter:
            step.step([list(range(videos))], 0.0)
        counted.append(1e-9 * counter.get_total_flops())
    return counted[0] + (batch - 1) * (counted[1] - counted[0])


def show(head: str, found: dict[str, dict[str, Any]], least: str, options: argparse.Namespace) -> None:
    """Print one head's table; ratios are the usual way's seconds over the line's."""
    lengths = quantiles(options.batch)
    size = f"{options.batch} videos of {min(lengths)} to {max(lengths)} snippets, mean {np.mean(lengths):.0f}"
    print(f"\n{head}: {size}; padded to {SNIPPETS},\nour step's matrix products are {least}")
    part_names = ("video", "audio", "text", "teacher", "losses", "backward", "AdamW")
    columns = f"{'':<18}{'s':>7} {'usual/':>7} {'cpu s':>7} {'usual/':>7} {'GiB':>6} {'epoch':>7}"
    print(columns + "".join(f"{name:>9}" for name in (*part_names, "rest")))
    usual = found.get("usual float32", {}).get("seconds", (float("nan"), float("nan")))
    for step, told in found.items():
        wall, cpu = told["seconds"]
        place = 1 if options.device == "cpu" else 0
        parts = [told["parts"].get(name, (0.0, 0.0))[place] for name in part_names]
        parts.append(told["seconds"][place] - sum(parts))
        line = f"{step:<18}{wall:>7.2f} {usual[0] / wall:>7.2f} {cpu:>7.2f} {usual[1] / cpu:>7.2f}"
        line += f" {told['bytes'] / 2**30:>6.2f} {wall / options.batch * EPOCH / 60:>5.1f}m "
        print(line + "".join(f"{part:>9.2f}" if part else f"{'':>9}" for part in parts))
    for kind in ("float32", "bf16"):
        if {kind, f"{kind} by length"} <= found.keys():
            gains = np.array(found[kind]["seconds"]) / np.array(found[f"{kind} by length"]["seconds"])
            print(f"{kind}: leaving padding out is {gains[0]:.2f} times as fast (cpu {gains[1]:.2f})")
    sys.stdout.flush()


def apart(head: str, step: str, options: argparse.Namespace) -> dict[str, Any]:
    """Result of :func:`work` in a process of its own. This one stays small: children inherit its peak of memory."""
    own = [sys.executable, __file__, "--work", head, step, "--device", options.device]
    own += ["--batch", str(options.batch), "--threads", str(options.threads)]
    done = subprocess.run(own, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def measure(head: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run every step in its own process, round after round; the fastest of each, and the usual losses checked."""
    found: dict[str, dict[str, Any]] = {}
    for number in range(options.repeats):
        for step in options.steps:
            print(f"{head}: {step}, round {number + 1} of {options.repeats} …", file=sys.stderr, flush=True)
            told = apart(head, step, options)
            best = found.setdefault(step, told)
            if told["seconds"] < best["seconds"]:
                best |= {"parts": told["parts"]}
            best["seconds"] = np.minimum(told["seconds"], best["seconds"]).tolist()
    for step, like, tolerance in (
        ("float32", "usual float32", 1e-4),
        ("bf16", "float32", 0.02),
        ("bf16 by length", "float32 by length", 0.02),
    ):
        if {step, like} <= found.keys():
            compare(f"{head}, {step}", found[like]["losses"], found[step]["losses"], tolerance)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS), metavar="HEAD")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=[STEPS[0], *STEPS[2:]], metavar="STEP")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", nargs=2, metavar=("HEAD", "STEP"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Check, measure, print."""
    options = _options()
    torch.set_num_threads(options.threads)
    checked_device(options.device)
    if options.work:
        print(json.dumps(work(options)))
        return
    rates = apart("", "ceilings", options)
    told = f"torch {torch.__version__}, {options.device}, {options.threads} threads; matrix products at most "
    print(told + ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in rates.items()), flush=True)
    for head in options.heads:
        needed = apart(head, "check", options)["gflop"]
        times = " and ".join(f"{needed / rate:.1f} s in {kind}" for kind, rate in rates.items())
        show(head, measure(head, options), f"{needed:.0f} GFLOP, at the rates above {times}", options)


if __name__ == "__main__":
    main()
