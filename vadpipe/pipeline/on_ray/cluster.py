"""A Ray cluster for one command: one on this machine, which ends with the command, or one that is there and stays.

Its own cluster tells nobody anything: it has no dashboard, and its usage statistics are off. Ray's servers listen on
all addresses of the machine; whoever calls needs a token, which only this user can read. All files of the cluster are
in one closed folder with a short name, since the paths of sockets are limited to 107 bytes, and it goes with it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError, VadpipeError
from vadpipe.pipeline.device import resolve_device
from vadpipe.pipeline.on_ray.folder import closed_folder

OBJECT_STORE_BYTES = 128 * 1024**2
"""Room for pieces of video between decoder and encoder: a few of 4 MiB for each decoder. Ray's minimum is 75 MiB."""

_MISSING = "--engine ray: Ray is not installed. Install it with: pip install 'vadpipe[ray]'"
_PIECES_BYTES = 24 * 1024**2  # of one decoder: pieces on the way, twice, and what the object store loses to holes
_KNOCK_S = 10.0


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster. id: Ray's, hexadecimal; address: for messages."""

    id: str
    address: str
    cpus: int
    gpus: int


def import_ray() -> Any:
    """The module ``ray``; :class:`UsageError` where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(_MISSING) from error
    return ray


def check_engine(engine: str, address: str | None, device: str, gpus: str | None = None) -> str | None:
    """The address of the cluster to join, None for one of its own; imports neither Ray nor torch.

    Without an address the one in the variable ``RAY_ADDRESS`` counts, which jobs of a cluster have. Ray's own word for
    a new cluster here, ``local``, is none: that cluster would lack what ours promises.
    :class:`UsageError` for options that do not go together, and where Ray is not installed.
    """
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: expected local or ray")
    if engine == "local":
        if address is not None:
            raise UsageError(f"--ray-address {address}: it goes with --engine ray")
        return None
    if gpus is not None:
        raise UsageError(f"--gpus {gpus}: with --engine ray each GPU of the cluster has an encoder; leave it out")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: Ray deals out the GPUs; expected auto, cpu or cuda with --engine ray")
    if importlib.util.find_spec("ray") is None:
        raise UsageError(_MISSING)
    return _checked(address or os.environ.get("RAY_ADDRESS"))


def _checked(address: str | None) -> str | None:
    if address is not None and "://" in address:
        raise UsageError(
            f"--ray-address: got {address!r}, expected HOST:PORT of the cluster's head, or auto, from a machine of "
            "the cluster; Ray's client protocol cannot stream results. Start the command there, or use ray job submit"
        )
    return None if address in ("", "local") else address


@contextmanager
def cluster(address: str | None, jobs: int, device: str) -> Iterator[tuple[Node, ...]]:
    """The nodes that are alive, while this process is connected to them.

    address
        None: a cluster on this machine, with as many CPUs as decoders may run at once (``jobs`` for each encoder), so
        that ``jobs`` alone rules, as without Ray, and with its GPUs unless ``device`` is ``cpu``. Else the cluster is
        joined and left again, never stopped.

    :class:`UsageError` where Ray is missing, where GPUs are asked for and there are none, and where this process is in
    a cluster already; :class:`VadpipeError` where the cluster cannot be started or reached.
    """
    address = _checked(address)
    ray = import_ray()
    if ray.is_initialized():
        raise UsageError("this process is connected to a Ray cluster already; call ray.shutdown() first")
    with _own(ray, jobs, device) if address is None else _joined(ray, address):
        nodes = alive_nodes(ray)
        if not nodes:
            raise VadpipeError(f"the Ray cluster at {address or 'this machine'} has no node that is alive")
        yield nodes


def alive_nodes(ray: Any) -> tuple[Node, ...]:
    """The nodes of the cluster that this process is connected to, sorted by id."""
    found = []
    for told in ray.nodes():
        if told["Alive"]:
            has = told["Resources"]
            cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
            found.append(Node(told["NodeID"], told["NodeManagerAddress"], cpus, gpus))
    return tuple(sorted(found, key=lambda node: node.id))


def places(nodes: Sequence[Node], device: str) -> list[tuple[Node, str]]:
    """Node and device of each actor; ``device``: ``auto``, ``cpu``, or ``cuda`` for GPUs only."""
    on_gpus = [(node, "cuda:0") for node in nodes for _ in range(node.gpus)]
    if device == "cpu" or (device == "auto" and not on_gpus):
        if chosen := [(node, "cpu") for node in nodes if node.cpus]:
            return chosen
        raise UsageError("the Ray cluster has neither GPUs nor CPUs that Ray may use; decoding takes a CPU each")
    if not on_gpus:
        raise UsageError(f"--device {device}: the Ray cluster has no GPU; use --device cpu or auto")
    if starved := [node.address for node, _ in on_gpus if not node.cpus]:
        raise UsageError(f"the node {starved[0]} of the Ray cluster has a GPU and no CPU; decoding takes a CPU each")
    return on_gpus


@contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    with _environment({}):
        try:
            _knock(address)
            with _own_sigterm():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:  # the last: of a token
            raise VadpipeError(
                f"--ray-address {address}: the cluster cannot be joined ({_first_line(error)}). Expected HOST:PORT of "
                "its head, or auto, the same versions of Ray and Python there as here, and its token, if it has one"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray itself would try for some ten minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S):
            pass


@contextmanager
def _own(ray: Any, jobs: int, device: str) -> Iterator[None]:
    gpus = 0 if device == "cpu" else _local_gpus(device)
    decoders = jobs * max(1, gpus)
    with closed_folder() as folder, _environment(_private(folder)):
        try:
            with _own_sigterm():
                ray.init(
                    address="local",
                    num_cpus=decoders,
                    num_gpus=gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / "r"),  # which Ray opens to everybody
                    **_store_room(folder, decoders),
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            ray.shutdown()
            raise VadpipeError(f"a Ray cluster cannot be started on this machine: {_first_line(error)}") from error
        except BaseException:
            ray.shutdown()
            raise
        try:
            yield
        finally:
            ray.shutdown()


def _local_gpus(device: str) -> int:
    """GPUs that torch sees here; torch is imported only where the system has one, or where one was asked for."""
    seen = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    if device == "auto" and not seen:
        return 0
    if resolve_device(device) == "cpu":
        return 0
    import torch

    return torch.cuda.device_count()


def _store_room(folder: Path, decoders: int) -> dict[str, Any]:
    """How large the object store is, and where: shared memory unless it is as small as that of many containers."""
    size = max(OBJECT_STORE_BYTES, decoders * _PIECES_BYTES)
    try:
        free = shutil.disk_usage("/dev/shm").free  # noqa: S108  # where Ray itself puts it
    except OSError:
        free = 0
    return {"object_store_memory": size} | ({} if free > 2 * size else {"_plasma_directory": str(folder)})


@cache
def _token() -> str:
    """One for all clusters of this process: Ray reads it once."""
    return secrets.token_hex(32)


def _private(folder: Path) -> dict[str, str]:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(_token(), encoding="ascii")
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN_PATH": str(token),  # Ray's own would be written to the user's home
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that it will be so one day
    }


@contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    """Variables of this process and its children; Ray sets some itself, and all are put back."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    os.environ.update(changed)
    if changed:
        os.environ.pop("RAY_AUTH_MODE", None)  # where it is not set Ray asks for tokens in a cluster of its own
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray's handler ends the process with another code than the one that is asked for; the one before it stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        signal.signal(signal.SIGTERM, before)
        if ended.code == signal.SIGTERM:  # it came while Ray's handler was there
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
