"""What Ray is asked for when a cluster is started or joined, with a stand-in; the folder of a command's own cluster."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from vadpipe.errors import UsageError, VadpipeError
from vadpipe.pipeline.on_ray import folder as ray_folder
from vadpipe.pipeline.on_ray.actor import Place
from vadpipe.pipeline.on_ray.cluster import check_engine, cluster
from vadpipe.pipeline.on_ray.folder import closed_folder, remove_leftovers


class Seen:
    """In the place of the module ``ray``; remembers what ``init`` was called with."""

    exceptions = ray.exceptions

    def __init__(self, error: Exception | None = None) -> None:
        self.given: dict[str, Any] = {}
        self.variables: dict[str, str] = {}
        self.token = ""
        self.ended = 0
        self._error = error

    def is_initialized(self) -> bool:
        return False

    def init(self, **given: Any) -> None:
        self.given = given
        self.variables = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
        if path := self.variables.get("RAY_AUTH_TOKEN_PATH"):
            assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
            self.token = Path(path).read_text()
        if self._error is not None:
            raise self._error

    def shutdown(self) -> None:
        self.ended += 1

    def nodes(self) -> list[dict[str, Any]]:
        here = {"NodeManagerAddress": "host", "Resources": {"CPU": 4.0}}
        return [{**here, "NodeID": "b", "Alive": True}, {**here, "NodeID": "a", "Alive": False}]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    def made(error: Exception | None = None) -> Seen:
        one = Seen(error)
        monkeypatch.setattr("vadpipe.pipeline.on_ray.cluster.import_ray", lambda: one)
        return one

    return made


@pytest.mark.parametrize("address", [None, "local", ""])
def test_a_cluster_of_its_own_tells_nobody_anything_and_asks_for_a_token(
    seen: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    one = seen()
    with cluster(address, 3, "cpu") as nodes:
        assert [node.id for node in nodes] == ["b"]
    assert (one.given["address"], one.given["num_cpus"], one.given["num_gpus"]) == ("local", 3, 0)
    assert one.given["include_dashboard"] is False
    assert one.variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "RAY_AUTH_MODE" not in one.variables  # so that Ray asks for tokens
    assert len(one.token) == 64
    folder = Path(one.variables["RAY_AUTH_TOKEN_PATH"]).parent
    assert Path(one.given["_temp_dir"]).parent == folder
    assert not folder.exists()
    assert one.ended == 1
    assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_USAGE_STATS_ENABLED"]) == ("disabled", "1")


def test_the_word_of_ray_for_a_new_cluster_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_engine("ray", "local", "auto") is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert check_engine("ray", None, "auto") is None


def test_a_cluster_that_is_there_is_joined_and_left(seen: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    one = seen()
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with cluster(address, 3, "cpu") as nodes:
            assert (len(nodes), one.ended) == (1, 0)
    assert (one.given["address"], one.ended) == (address, 1)
    assert one.given.keys() == {"address", "log_to_driver", "logging_level"}
    assert one.variables["RAY_AUTH_MODE"] == "disabled"  # how it is guarded is its owner's choice
    with pytest.raises(VadpipeError, match="the cluster cannot be joined"), cluster(address, 3, "cpu"):
        pass  # nobody listens there any more
    with pytest.raises(UsageError, match="expected HOST:PORT"), cluster("ray://127.0.0.1:1", 3, "cpu"):
        pass


@pytest.mark.parametrize("error", [ray.exceptions.AuthenticationError("no token"), ConnectionError("no"), ValueError()])
def test_a_cluster_that_cannot_be_joined_is_one_message(seen: Callable[..., Seen], error: Exception) -> None:
    seen(error)
    with (
        pytest.raises(VadpipeError, match=r"--ray-address auto: the cluster cannot be joined"),
        cluster("auto", 1, "cpu"),
    ):
        pass


def test_a_folder_of_a_killed_command_goes_and_those_of_others_stay(tmp_path: Path) -> None:
    left, mine, other = (tmp_path / name for name in ("vadpipe-ray-1", "vadpipe-ray-2", "vad-experiment"))
    for folder in (left, mine, other):
        folder.mkdir()
    (left / "lock").write_bytes(ray_folder._MARK)
    for folder in (mine, other):  # of somebody who uses such names, too
        (folder / "lock").write_text("")
        (folder / "results.csv").write_text("mine")
    remove_leftovers(tmp_path)
    assert [folder.exists() for folder in (left, mine, other)] == [False, True, True]


def test_the_folder_of_a_command_at_work_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_folder() as folder:
        assert len(os.fsencode(folder)) + len("/r") + 64 <= 107
        with (folder / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_leftovers(folder.parent)
        assert folder.exists()
    assert not folder.exists()


def test_the_mark_comes_after_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[bytes] = []

    def flock(lock: Any, how: int) -> None:
        marks.append(Path(lock.name).read_bytes())
        fcntl.flock(lock, how)

    monkeypatch.setattr(ray_folder, "fcntl", SimpleNamespace(flock=flock, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB))
    with closed_folder():
        pass
    assert marks[-1] == b""


@pytest.mark.parametrize("given", [None, "3"])
def test_an_actor_uses_the_threads_of_the_driver(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if given is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, given)
    place = Place.here(())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as Ray does
    place.enter()
    assert [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")] == [given, given]
