"""Two processes that train together give what one gives; one that fails ends both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.pipeline.rank_worker import CONFIGS, planted_in, train
from vadpipe.errors import UsageError
from vadpipe.models.checkpoint import load_head
from vadpipe.pipeline.training.ranks import ALONE, Ranks, joined_ranks, own_rank

ROOT = Path(__file__).parents[2]


def torchrun(task: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start two ranks on this machine."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "-m", "tests.pipeline.rank_worker", task, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    ended = torchrun("train", folder)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_collectives_on_values_one_can_check(trained: Path) -> None:
    first, second = (json.loads((trained / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first.pop("share"), second.pop("share")) == ([11, 14, 12], [13, 10])  # 9 | 7, 5 | 3, 1
    assert first == second
    assert first.pop("refused").startswith("the 2 ranks differ in colour")
    assert first == {
        "sum": [3.0],
        "both": [3.0, 30.0],
        "first_only": [5.0, 6.0],
        "unused": None,
        "frozen": None,
        "from_first": [1.0, 1.0],
        "told": {"rank": 0, "x": [1.5, None, "ö"]},
    }


@pytest.mark.parametrize("head", sorted(CONFIGS))
def test_two_ranks_train_what_one_trains(trained: Path, tmp_path: Path, head: str) -> None:
    """The same global batch, cut in two: weights, memory bank and figures; batches of one video among them."""
    alone = train(planted_in(tmp_path), head, tmp_path / head)
    together = load_head(trained / head)
    assert together.provenance["ranks"] == 2
    assert together.provenance["fingerprint"] == alone.trained.provenance["fingerprint"]
    state = together.head.state_dict()
    for name, value in alone.trained.head.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-5, rtol=0)
    rows = [json.loads(line) for line in (trained / head / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    ranking = ("frame_", "video_")  # steps in the weights' last digits: near ties change places
    for row, wanted in zip(rows, alone.history, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, abs=2e-3 if name.startswith(ranking) else 1e-4), name


@pytest.mark.parametrize("head", sorted(CONFIGS))
def test_ranks_end_with_the_same_bits(trained: Path, head: str) -> None:
    first, second = (torch.load(trained / f"{head}-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert ("memory" in first) == (head == "lec_vad")


def test_an_error_of_one_rank_ends_all(tmp_path: Path) -> None:
    ended = torchrun("fail", tmp_path)
    assert ended.returncode != 0
    assert "rank 1 gives up" in ended.stderr
    assert not (tmp_path / "went-on").exists()
    for rank in (0, 1):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"{rank}.pid").read_text()), 0)


def test_shares_are_even_in_number_and_work() -> None:
    items = list(range(100, 131))
    lengths = [(7 * place) % 31 + 1 for place in range(31)]
    assert ALONE.share(items, lengths) == items
    shares = [Ranks(rank, 4).share(items, lengths) for rank in range(4)]
    assert sorted(item for share in shares for item in share) == items
    assert {len(share) for share in shares} == {7, 8}
    work = [sum(lengths[item - 100] for item in share) for share in shares]
    assert max(work) - min(work) <= max(lengths)
    assert [Ranks(rank, 3).share([5], [1]) for rank in range(3)] == [[5], [], []]


def test_without_torchrun_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    assert own_rank() == 0
    with joined_ranks("cuda:1") as ranks:
        assert (ranks.first, ranks.world, ranks.device) == (True, 1, "cuda:1")
    value = torch.ones(2)
    assert ALONE.sum(value) is value
    assert ALONE.told({"a": 1}) == {"a": 1}
    ALONE.agree("anything", "x")
    ALONE.from_first([value])


def test_an_incomplete_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(UsageError, match=r"RANK, MASTER_ADDR, MASTER_PORT is not set; start with torchrun"),
        joined_ranks(),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE: got 'two'"):
        own_rank()


def test_each_rank_needs_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="rank 1 of this machine has no GPU: torch sees 1"), joined_ranks("cuda"):
        pass
    with pytest.raises(UsageError, match="each rank takes its own GPU; say cuda"), joined_ranks("cuda:0"):
        pass
    assert own_rank() == 1
