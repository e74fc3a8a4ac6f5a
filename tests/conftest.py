"""For all tests: one thread a process, repeatable made-up cases, and decoders that a machine may lack."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from vadpipe.errors import UsageError

# The tests' tensors are small, and threads that wait for each other cost more than they give.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is imported, and inherited by the processes that tests start

# Made-up cases are the same in every run, and none is kept: a test fails for everybody or for nobody.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


def need_decoder(name: str) -> None:
    """Skip, visibly, where this machine lacks a decoder: torchcodec needs FFmpeg's system libraries, which no package
    index has, and the checks must run without rights on the machine. That it says so well is tested everywhere.
    """
    from vadpipe.extractors import media

    try:
        media.decoder_version(name)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def without_a_scheduler() -> Iterator[None]:
    """The tests may run in an array of Slurm or a job of Kubernetes, whose variables would share out their videos."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("SLURM_ARRAY_", "JOB_COMPLETION_INDEX")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def suit_the_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a test's parameter ``decoder``: skip where it is not there; torchcodec runs in this process.

    Importing torch takes a child seconds. That torchcodec works in a real one is a test of its own module.
    """
    callspec = getattr(request.node, "callspec", None)
    name = callspec.params.get("decoder") if callspec is not None else None
    if name is None:
        return
    from tests.extractors.in_process import InProcess
    from vadpipe.extractors import decoders, media

    if name not in decoders.DECODERS:
        return  # a test of how unknown ones are refused
    need_decoder(name)
    if name == "torchcodec":
        monkeypatch.setattr(media, "DecodeProcess", InProcess)
