"""What one of several ranks does in the tests; started by torchrun: ``rank_worker.py TASK FOLDER``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.pipeline.heads import small_config, small_inputs
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, CONFIG, SPEC, Planted, plant, plant_audio
from vadpipe.config import RunConfig
from vadpipe.errors import VadpipeError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.train import FitResult, fit
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.ranks import ALONE, Ranks, joined_ranks

TRAIN = replace(CONFIG.train, batch_size=7, epochs=2, balanced=False, lr=1e-3, average=0.9, clip_gradients=1.0)
CONFIGS: dict[str, RunConfig] = {
    "lec_vad": small_config("lec_vad", replace(TRAIN, schedule="cosine"), standardise="pca"),
    # AdamW makes whole steps of gradients that are 0 but for rounding: at a lower rate they stay small
    "avadclip": small_config("avadclip", replace(TRAIN, lr=1e-4, micro_batch=3, accumulate=2), zero_init=False),
}


def planted_in(folder: Path) -> Planted:
    """The same videos for every rank; the first rank or the test has written them."""
    planted = plant(folder / "features", 16)
    plant_audio(planted, silent=3)
    return planted


def train(planted: Planted, head: str, folder: Path, ranks: Ranks = ALONE) -> FitResult:
    """15 training videos in batches of 7: the last batch has one, and a rank nothing."""
    config = CONFIGS[head]
    audio = AUDIO_SPEC if config.audio_stream else None
    learnt, held_out = (Bags(planted.store, SPEC, part, CLASSES, audio_spec=audio) for part in parts(planted))
    return fit(learnt, held_out, small_inputs(), config, folder, ranks=ranks)


def parts(planted: Planted) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """15 videos to train on, 16 to validate on."""
    return list(planted.records[:15]), list(planted.records)


def collectives(ranks: Ranks, folder: Path) -> None:
    """Each on values that a reader can check; the results go to ``FOLDER/<rank>.json``."""
    own = ranks.rank + 1.0
    both, first_only, frozen = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    unused = torch.nn.Parameter(torch.zeros(3))
    both.grad = torch.tensor([own, 10 * own])
    if ranks.first:
        first_only.grad = torch.tensor([5.0, 6.0])
    frozen.requires_grad_(False)
    ranks.sum_gradients([both, unused, first_only, frozen])
    start = torch.full((2,), own)
    ranks.from_first([start])
    refused = ""
    try:
        ranks.agree("colour", "red" if ranks.first else "blue")
    except VadpipeError as error:
        refused = str(error)
    ranks.agree("colour", "red")
    found = {
        "sum": ranks.sum(torch.tensor([own])).tolist(),
        "both": both.grad.tolist(),
        "first_only": first_only.grad.tolist() if first_only.grad is not None else None,
        "unused": unused.grad,
        "frozen": frozen.grad,
        "from_first": start.tolist(),
        "told": ranks.told({"rank": ranks.rank, "x": [1.5, None, "ö"]}),
        "refused": refused,
        "share": ranks.share([10, 11, 12, 13, 14], [5, 9, 1, 7, 3]),
    }
    (folder / f"{ranks.rank}.json").write_text(json.dumps(found))


def main() -> None:
    """Run a task at this rank."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    with joined_ranks("cpu") as ranks:
        if task == "fail":
            (folder / f"{ranks.rank}.pid").write_text(str(os.getpid()))
            if not ranks.first:
                raise SystemExit("rank 1 gives up")
            try:
                ranks.wait()
            except VadpipeError as error:
                print(f"first rank: {error}", flush=True)
                raise SystemExit(5) from error
            (folder / "went-on").touch()
            return
        collectives(ranks, folder)
        made = planted_in(folder / f"store{ranks.rank}")
        for head in CONFIGS:
            result = train(made, head, folder / head, ranks)
            torch.save(result.trained.head.state_dict(), folder / f"{head}-{ranks.rank}.pt")


if __name__ == "__main__":
    main()
