"""Run after run of detect in one process, over good and bad clips: nothing grows and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RUNS, WARM = 17, 1
MOST_BYTES_A_RUN = 100_000
"""What the slope of memory may be over so few runs, by the median of all pairs; a leak of 200 KiB is twice as much."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("the counts come from Linux's /proc")
    command = [sys.executable, "-m", "tests.soak_cases", str(RUNS), str(WARM)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_every_kind_of_run_took_place(found: dict[str, Any]) -> None:
    outcomes = found["outcomes"]
    assert outcomes["decoders killed"] == 2, outcomes
    assert outcomes["decoders timed out"] == 1, outcomes
    assert outcomes["requests refused"] == 4, outcomes
    assert outcomes["command ended with 3"] == 1, outcomes
    assert outcomes["outputs lost"] == 0, outcomes
    assert min(outcomes["videos detected"], outcomes["videos failed"]) >= 10, outcomes


def test_nothing_is_left_of_any_run(found: dict[str, Any]) -> None:
    assert found["changed"] == [[]] * (RUNS - WARM)
    assert not [key for key in found["outcomes"] if key.startswith("temporary files")]


def test_memory_does_not_grow(found: dict[str, Any]) -> None:
    assert found["slope"] < MOST_BYTES_A_RUN, found["uss"]


def test_torch_does_not_bring_its_compiler(found: dict[str, Any]) -> None:
    assert found["compiler"] is False  # 3 s, 120 MB and a folder in /tmp, for nothing


def test_a_planted_leak_of_each_kind_is_noticed(found: dict[str, Any]) -> None:
    noticed = found["noticed"]
    assert noticed["memory"][0] > 1.5 * MOST_BYTES_A_RUN
    assert noticed.pop("memory")[1] == []
    said = {kind: [text.partition(":")[0] for text in texts] for kind, (_, texts) in noticed.items()}
    assert all(kind in names for kind, names in said.items()), said
    assert set(said) == {"handles", "threads", "children", "shared", "temporary", "state"}
