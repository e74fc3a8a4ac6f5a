"""``vadpipe extract --engine ray`` as a user meets it: its choices, a termination, and videos in quarantine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.extractors import painted_videos
from vadpipe.errors import UsageError, VideoQuarantined
from vadpipe.pipeline.extract import Outcome
from vadpipe.pipeline.extracting.run import ExtractRequest, extract_run
from vadpipe.pipeline.on_ray.cluster import Node, check_engine, places
from vadpipe.pipeline.quarantine import QUARANTINE_FILE, Quarantine

_WAIT_S = 60.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("local", "host:6379", "auto"), "goes with --engine ray"),
        (("ray", None, "auto", "all"), "each GPU of the cluster has an encoder"),
        (("ray", None, "cuda:1"), "expected auto, cpu or cuda"),
        (("ray", "ray://host:10001", "auto"), "expected HOST:PORT of the cluster's head"),
    ],
)
def test_options_that_do_not_go_together(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_engine(*given)


def test_where_ray_is_missing_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'vadpipe\[ray\]'"):
        check_engine("ray", None, "auto")
    assert check_engine("local", None, "cuda:3", "all") is None


def test_the_address_of_a_job_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert check_engine("ray", None, "auto") == "head:6379"
    assert check_engine("ray", "other:6379", "auto") == "other:6379"
    assert check_engine("local", None, "auto") is None


def test_help_and_usage_errors_import_neither_ray_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    code = (
        "import sys\nfrom vadpipe.cli import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    for arguments, status in ((["--help"], 0), (["a.mp4", "--engine", "ray", "--gpus", "all"], 2)):
        command = [sys.executable, "-c", code, "extract", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=_WAIT_S)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (status, "[]")


def test_actors_go_where_the_gpus_are() -> None:
    plain, two, bare = Node("a", "10.0.0.1", 2, 0), Node("b", "10.0.0.2", 8, 2), Node("c", "10.0.0.3", 0, 0)
    assert places([plain, bare], "auto") == [(plain, "cpu")]
    assert places([plain, two], "auto") == [(two, "cuda:0"), (two, "cuda:0")]
    assert places([plain, two], "cpu") == [(plain, "cpu"), (two, "cpu")]
    with pytest.raises(UsageError, match="has no GPU"):
        places([plain], "cuda")
    with pytest.raises(UsageError, match="neither GPUs nor CPUs"):
        places([bare], "auto")
    with pytest.raises(UsageError, match=r"10\.0\.0\.4 of the Ray cluster has a GPU and no CPU"):
        places([Node("d", "10.0.0.4", 0, 1)], "auto")


def test_quarantine_is_kept_in_lines_that_may_be_torn(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("a", "b")}
    for path in paths.values():
        path.write_text("x")
    quarantine = Quarantine(tmp_path / "store")
    assert isinstance(quarantine.add(paths["a"], "died", 3), VideoQuarantined)
    file = tmp_path / "store" / QUARANTINE_FILE
    with file.open("a") as handle:
        handle.write('[1]\n{"id": 7}\n{"id": "b", "path"')  # of others, and of a writer that was killed
    Quarantine(tmp_path / "store").add(paths["b"], "died", 3)
    again = Quarantine(tmp_path / "store")
    assert list(again.passed_over(paths.values())) == list(paths.values())
    again.release(paths["a"])
    paths["b"].write_text("another file")
    assert Quarantine(tmp_path / "store").passed_over(paths.values()) == {}
    in_memory = Quarantine(None)
    said = str(in_memory.add(paths["a"], "died", 3))
    assert said == f"{paths['a']}: in each of 3 attempts the process that worked on it died"
    assert list(in_memory.passed_over(paths.values())) == [paths["a"]]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_video_in_quarantine_fails_only_where_it_would_have_to_be_decoded(tmp_path: Path, engine: str) -> None:
    stored, missing = (painted_videos.write(tmp_path / f"{name}.mp4", 3) for name in ("stored", "missing"))
    request = ExtractRequest({"stored": stored}, tmp_path / "store", ("wav2clip",), {"wav2clip": "random"}, jobs=1)
    assert extract_run(request).done == ["stored"]
    quarantine, outcomes = Quarantine(tmp_path / "store"), list[Outcome]()
    quarantine.add(stored, "died", 3)  # with another stream
    said = str(quarantine.add(missing, "died", 3))
    request = replace(request, videos={"stored": stored, "missing": missing}, engine=engine)
    told = extract_run(request, outcomes.append)
    assert (told.kept, told.done, told.failed) == (["stored"], [], {"missing": said})
    assert {outcome.name: str(outcome.error) for outcome in outcomes} == {"stored": "None", "missing": said}
    again = Quarantine(tmp_path / "store").passed_over([stored, missing])
    assert list(again) == [stored, missing]  # what is stored says nothing about the next attempt


def test_what_is_done_after_all_leaves_the_quarantine(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "a.mp4", 3)
    Quarantine(tmp_path / "store").add(path, "died", 3)
    settings = {"streams": ("wav2clip",), "weights": {"wav2clip": "random"}, "retry_quarantined": True}
    request = ExtractRequest({"a": path}, tmp_path / "store", **settings)  # type: ignore[arg-type]  # one of many kinds
    assert extract_run(request).done == ["a"]
    assert Quarantine(tmp_path / "store").passed_over([path]) == {}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def processes(mark: str) -> list[str]:
    """Of all processes that were started with the variable ``mark``, and run, the command."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"VADPIPE_TEST={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append((place / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def wait_for(what: str, condition: object) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():  # type: ignore[operator]  # any function
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_termination_leaves_finished_videos_and_nothing_else(tmp_path: Path, short: Path) -> None:
    first = painted_videos.write(tmp_path / "v0.mp4", 100)
    for number in range(1, 60):
        os.link(first, tmp_path / f"v{number}.mp4")
    command = [sys.executable, "-m", "vadpipe", "extract", str(tmp_path), "--out", str(tmp_path / "store")]
    command += ["--streams", "wav2clip", "--weights", "random", "--device", "cpu", "--engine", "ray"]
    given = {**os.environ, "VADPIPE_TEST": tmp_path.name + short.name, "TMPDIR": str(short)}
    with subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_for("a track", lambda: list((tmp_path / "store").glob("*/*/v*.h5")) or running.poll() is not None)
            assert len(processes(given["VADPIPE_TEST"])) > 4
            running.send_signal(signal.SIGTERM)
            told = running.communicate(timeout=_WAIT_S)[1]
        finally:
            running.kill()
    assert running.returncode == 143, told
    assert "Traceback" not in told
    wait_for("the end of all processes", lambda: not processes(given["VADPIPE_TEST"]))
    assert list(short.iterdir()) == []
    assert 1 <= len(list((tmp_path / "store").glob("*/*/v*.h5"))) < 60
