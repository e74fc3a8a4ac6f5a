"""What ``vadpipe doctor`` finds: every state has its line, and what is missing the command that mends it."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

from vadpipe.errors import UsageError
from vadpipe.extractors import media
from vadpipe.pipeline import doctor


def line(name: str, found: list[doctor.Check]) -> doctor.Check:
    return next(check for check in found if check.name == name)


@pytest.mark.parametrize(
    ("find", "state", "hint"),
    [
        (lambda name: f"lib{name}.so.61", "libavcodec.so.61", ""),
        (lambda name: None, "none", "apt-get install --yes ffmpeg"),
        (lambda name: None if name == "avdevice" else name, "missing: avdevice", "conda install --channel conda-forge"),
    ],
)
def test_ffmpeg_libraries(
    find: Callable[[str], str | None], state: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", find)
    check = line("FFmpeg libraries", doctor.checks())
    assert check.state == state
    assert hint in check.hint
    assert bool(check.hint) == bool(hint)


def test_without_full_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "decoder_version", lambda name: pytest.fail("loaded"))
    assert {"decoder torchcodec", "NVDEC"} & {check.name for check in doctor.checks()} == set()


def test_torchcodec_loads_or_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "decoder_version", lambda name: "0.17.0")
    assert line("decoder torchcodec", doctor.checks(full=True))[1:] == ("loads (0.17.0)", "")

    def missing(name: str) -> str:
        raise UsageError("install it so")

    monkeypatch.setattr(media, "decoder_version", missing)
    assert line("decoder torchcodec", doctor.checks(full=True))[1:] == ("does not load", "install it so")


def test_a_torch_that_cannot_be_imported_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError(f"lib{name}_cpu.so: cannot open shared object file")

    monkeypatch.setattr(media, "decoder_version", lambda name: "0.17.0")
    monkeypatch.setattr(doctor, "import_module", broken)
    found = doctor.checks(full=True)
    assert line("torch loads", found).state == "no: libtorch_cpu.so: cannot open shared object file"
    assert "pip install" in line("torch loads", found).hint
    assert "NVDEC" not in {check.name for check in found}


def test_nvdec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "decoder_version", lambda name: "0.17.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert line("NVDEC", doctor.checks(full=True))[1:] == ("no GPU", "")

    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert "NVIDIA_DRIVER_CAPABILITIES" in line("NVDEC", doctor.checks(full=True)).hint
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    assert line("NVDEC", doctor.checks(full=True)).hint == ""
