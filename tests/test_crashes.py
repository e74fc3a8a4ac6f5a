"""Kills at every step of every write, disks that refuse at every step, and interrupted extractions."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.extractors import painted_videos
from tests.traced import Call, unsafe_order

ROOT = Path(__file__).parents[1]
STORE_CASES = ("store write", "store replace", "index rebuild", "pack", "unpack", "gc --unused")
HEAD_CASES = ("checkpoint replace", "train state")


def figures(what: str, folder: Path, cases: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Figures of ``tests.crash_cases``, run in a process of its own."""
    if not can_run_traced():
        pytest.skip("this machine does not let a process trace its child (Linux on x86-64, ptrace allowed)")
    command = [sys.executable, "-m", "tests.crash_cases", what, str(folder), *cases]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["case"]: row for row in json.loads(done.stdout)}


def can_run_traced() -> bool:
    """Asked in another process: this one may have threads, and a copy of it would inherit their locks."""
    code = "import sys; from tests.traced import can_trace; sys.exit(not can_trace())"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where there is such a disk: a sync there costs nothing, and a kill is the same."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, prefix="vadpipe-test-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("cases", [STORE_CASES, HEAD_CASES], ids=["store", "heads"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(quick: Path, cases: tuple[str, ...]) -> None:
    for case, found in figures("kill", quick, cases).items():
        assert found["seen"]["new"] > 0, case
        assert sum(found["kills"].values()) >= 6, case
        if case not in ("index rebuild", "gc --unused"):
            assert found["seen"]["old"] > 0, case
            assert {"write", "fsync", "rename"} <= set(found["kills"]), case
            assert found["leftovers"] > 0, "no kill came while a temporary file was there"


@pytest.mark.parametrize(
    ("number", "cases", "said"),
    [
        (errno.ENOSPC, ("store write", "pack", "unpack"), "no space left (disk full or over quota)"),
        (errno.EDQUOT, ("store write",), "no space left (disk full or over quota)"),
        (errno.EROFS, ("store write", "unpack"), "the folder cannot be written (permissions, or a read-only disk)"),
    ],
    ids=["full", "quota", "read-only"],
)
def test_a_disk_that_refuses_at_any_step_is_one_clear_error(
    quick: Path, number: int, cases: tuple[str, ...], said: str
) -> None:
    for case, found in figures(str(number), quick, cases).items():
        refusals = {error: times for error, times in found["refusals"].items() if error != "…"}
        assert refusals, case
        assert all(error.startswith("StoreError: cannot ") and said in error for error in refusals), refusals


def test_nothing_is_locked_so_disks_without_locks_will_do(tmp_path: Path) -> None:
    if not can_run_traced():
        pytest.skip("this machine does not let a process trace its child")
    code = """if True:
        import errno, sys, h5py
        from tests.test_store import SPEC, track
        from tests.traced import trace
        from vadpipe.store import FeatureStore

        def no_locks(number, call):
            return errno.ENOLCK if call.name == "lock" else 0

        def locks(action):
            return [call.name for call in trace(action, refuse=no_locks).calls].count("lock")

        def usual():
            try:
                h5py.File(sys.argv[1] + "/usual.h5", "w", locking=True)
            except OSError:
                return
            raise AssertionError("the lock was not refused")

        store = FeatureStore(sys.argv[1])
        print(locks(usual), locks(lambda: store.write(track())), locks(lambda: store.read(SPEC, "clip-1")))
        store.read(SPEC, "clip-1")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    usual, written, read = (int(number) for number in done.stdout.split())
    assert usual > 0, "HDF5's own locks were not seen, so this proves nothing"
    assert (written, read) == (0, 0)


def test_the_order_that_a_power_loss_needs_is_told_from_others() -> None:
    good = [
        Call("mkdir", ("/s/a",)),
        Call("fsync", ("/s",)),
        Call("open", ("/s/a/.x.tmp",)),
        Call("write", ("/s/a/.x.tmp",)),
        Call("fsync", ("/s/a/.x.tmp",)),
        Call("rename", ("/s/a/.x.tmp", "/s/a/x")),
        Call("fsync", ("/s/a",)),
    ]
    assert unsafe_order(good) == []
    for missing, said in ((1, "folder above"), (4, "before it is synced"), (6, "its folder not synced")):
        (wrong,) = unsafe_order(good[:missing] + good[missing + 1 :])
        assert said in wrong
    late = [*good[:4], good[4], good[3], *good[5:]]  # written to after the sync
    assert "before it is synced" in unsafe_order(late)[0]


CHEAP = """if True:
    from tests.pipeline.mean_colour import MeanColour
    from vadpipe.pipeline.extracting import run as extract_run
    extract_run.build_extractors = lambda *_, **__: [MeanColour(pause_s=0.2)]
    from vadpipe.cli import main
    main()
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_extraction_keeps_what_is_finished(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    (tmp_path / "videos").mkdir()
    content = painted_videos.write(tmp_path / "one.mp4", 20).read_bytes()
    for number in range(24):
        (tmp_path / "videos" / f"v{number:02}.mp4").write_bytes(content)
    command = [sys.executable, "-c", CHEAP, "extract", str(tmp_path / "videos"), "--out", str(tmp_path / "features")]
    options = ["--stride", "4", "--device", "cpu", "--weights", "random", "--json"]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while len(stored(tmp_path)) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    assert b"Traceback" not in err
    assert members(process.pid) == [], "a child outlived the command"
    kept = stored(tmp_path)
    assert 2 <= len(kept) < 24
    assert list(tmp_path.rglob("*.tmp")) == []
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (len(told["kept"]), len(told["done"]), told["failed"]) == (len(kept), 24 - len(kept), {})


def stored(folder: Path) -> list[Path]:
    """Finished features."""
    return list((folder / "features").glob("*/??/*.h5"))


def members(session: int) -> list[int]:
    """Processes of a session that still run; none where the system does not list processes."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _parent, _group, own = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has ended meanwhile
        if int(own) == session and state != "Z":
            found.append(int(place.name))
    return found


def test_the_tracer_is_refused_or_works(tmp_path: Path) -> None:
    if not can_run_traced():
        pytest.skip("this machine does not let a process trace its child")
    code = "import sys; from tests.traced import trace; from pathlib import Path; p = Path(sys.argv[1]) / 'x'\n"
    code += "def act(): p.write_bytes(b'1'); p.write_bytes(b'2')\n"
    code += "print([(n, trace(act, n).killed, p.read_bytes() if p.exists() else None) for n in range(1, 6)])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # opened; written; opened and so empty; written; ended by itself
    assert done.stdout.strip() == (
        "[(1, True, None), (2, True, b''), (3, True, b'1'), (4, True, b''), (5, False, b'2')]"
    )
