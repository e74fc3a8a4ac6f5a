"""Trust on first use: what comes first is recorded, nothing else is accepted after, and what is no weights never is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from email.message import Message
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import Request

import pytest
import torch

from tests.extractors.weights_server import closed_port_url, serving
from vadpipe.errors import StoreError, UsageError, WeightsError
from vadpipe.extractors import weights as module
from vadpipe.extractors import weights_cache
from vadpipe.extractors.weights import KnownWeights, Weights, accept, read_state, record_first_use, resolve
from vadpipe.extractors.weights_cache import _NoDowngrade, expected_digest, record_path


def saved(content: Any) -> bytes:
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


FIRST = saved({"w": torch.arange(3.0)})
OTHER = saved({"w": torch.arange(4.0)})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(folder))
    return folder


def offer(monkeypatch: pytest.MonkeyPatch, url: str, **more: Any) -> KnownWeights:
    """Make ``net`` a file without a published digest."""
    known = KnownWeights("Test net", url, "net.pt", "", "MIT", stream="clip", **more)
    monkeypatch.setattr(module, "KNOWN", MappingProxyType({"net": known}))
    return known


def use(wanted: dict[str, tuple[int, ...]]) -> Weights:
    """What every encoder does with ``net``, for a network with these parameters."""
    weights = resolve("net", progress=False)
    accept(weights, read_state(weights), wanted)
    return weights


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_first_download_is_recorded_and_checked_ever_after(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(FIRST).hexdigest()
    with serving(FIRST) as url:
        known = offer(monkeypatch, url)
        assert expected_digest(known, cache / "net.pt") is None
        assert resolve("net", progress=False).sha256 == digest
        assert names(cache) == ["net.pt"]  # nobody knows yet whether it fits
        assert use({"w": (3,)}).sha256 == digest
    assert names(cache) == ["net.pt", "net.pt.json"]
    record = json.loads((cache / "net.pt.json").read_text())
    assert (record["sha256"], record["size_bytes"], record["url"]) == (digest, len(FIRST), url)
    expected = expected_digest(known, cache / "net.pt")
    assert expected is not None
    assert expected.origin == f"recorded here on {record['recorded'][:10]}"

    offer(monkeypatch, closed_port_url())
    assert read_state(resolve("net"))["w"].tolist() == [0, 1, 2]
    (cache / "net.pt").write_bytes(OTHER)
    with pytest.raises(WeightsError, match=f"expected {digest} .recorded here on .*delete .*net.pt.json"):
        resolve("net")


def test_another_file_from_the_publisher_is_refused_and_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FIRST) as url:
        offer(monkeypatch, url)
        use({"w": (3,)})
    (cache / "net.pt").unlink()
    with serving(OTHER) as url:
        offer(monkeypatch, url)
        with pytest.raises(WeightsError, match=r"recorded here on .*delete .*net\.pt\.json if you accept"):
            resolve("net", progress=False)
        assert names(cache) == ["net.pt.json"]
        (cache / "net.pt.json").unlink()
        assert use({"w": (4,)}).sha256 == hashlib.sha256(OTHER).hexdigest()


def test_a_first_file_that_does_not_fit_is_not_recorded_and_the_advice_works(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(OTHER) as url:
        offer(monkeypatch, url)
        with pytest.raises(WeightsError, match=r"got shape \(4,\), expected \(3,\)\. Delete \S+net\.pt to download it"):
            use({"w": (3,)})
    assert names(cache) == ["net.pt"]
    (cache / "net.pt").unlink()
    with serving(FIRST) as url:
        offer(monkeypatch, url)
        use({"w": (3,)})
        assert names(cache) == ["net.pt", "net.pt.json"]
        with pytest.raises(WeightsError, match=r"Delete \S+net\.pt and \S+net\.pt\.json to download it again.*" + url):
            use({"w": (5,)})


def test_there_is_no_such_advice_for_a_file_elsewhere(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, closed_port_url())
    (tmp_path / "net.pt").write_bytes(FIRST)
    weights = resolve(str(tmp_path / "net.pt"))
    with pytest.raises(WeightsError, match=r"expected \(9,\)$"):
        accept(weights, read_state(weights), {"w": (9,)})
    accept(weights, read_state(weights), {"w": (3,)})
    assert not cache.exists()


@pytest.mark.parametrize(
    ("body", "announced", "message"),
    [
        (FIRST[:-20], len(FIRST), "of .* bytes came|IncompleteRead"),
        (FIRST[:-20], None, "is no weights, so it was not kept"),
        (b"<html>please log in</html>", None, "proxy's page"),
        (saved({"w": [1, 2]}), None, "expected a state dict"),
    ],
    ids=["torn", "torn before it was served", "a login page", "no state dict"],
)
def test_what_is_no_whole_file_of_weights_is_never_trusted(
    body: bytes, announced: int | None, message: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(body, announced) as url:
        offer(monkeypatch, url)
        with pytest.raises(WeightsError, match=message):
            resolve("net", progress=False)
    assert names(cache) == []


def test_a_file_larger_than_any_weights_is_cut_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_cache, "MAX_BYTES", 100)
    with serving(FIRST) as url:
        offer(monkeypatch, url)
        with pytest.raises(WeightsError, match="more than 100 bytes"):
            resolve("net", progress=False)
    assert names(cache) == []


def test_a_file_put_there_by_hand_is_recorded_at_its_first_use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, closed_port_url())
    cache.mkdir()
    (cache / "net.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no plain state dict"):
        use({"w": (3,)})
    (cache / "net.pt").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="Delete"):
        use({"w": (3,)})
    assert names(cache) == ["net.pt"]
    (cache / "net.pt").write_bytes(FIRST)
    digest = use({"w": (3,)}).sha256
    assert json.loads((cache / "net.pt.json").read_text())["sha256"] == digest


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"schema": "vadpipe.weights/1", "sha256": "no", "recorded": "2026-01-01"}', b"\xff"],
)
def test_a_damaged_record_does_not_count_as_none(content: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, closed_port_url())
    cache.mkdir()
    (cache / "net.pt").write_bytes(FIRST)
    (cache / "net.pt.json").write_bytes(content)
    with pytest.raises(WeightsError, match="is no record of a digest"):
        resolve("net")
    assert record_path(cache / "net.pt").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise StoreError(f"cannot write {path}: read-only")

    offer(monkeypatch, closed_port_url())
    cache.mkdir()
    (cache / "net.pt").write_bytes(FIRST)
    monkeypatch.setattr(weights_cache, "atomic_write", refuse)
    with pytest.raises(WeightsError, match=r"cannot be recorded.*read-only.*--weights clip=PATH"):
        record_first_use(resolve("net"))


def test_offline_says_that_no_digest_is_known(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = closed_port_url()
    offer(monkeypatch, url)
    with pytest.raises(WeightsError) as caught:
        resolve("net", progress=False)
    for needed in (url, "sha256 unknown", "MIT", str(cache / "net.pt"), "--weights clip=PATH", "--weights random"):
        assert needed in str(caught.value)
    assert names(cache) == []


def test_the_name_of_a_file_does_not_depend_on_what_is_in_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is part of the feature specification: it has to be the same on every machine."""
    offer(monkeypatch, closed_port_url())
    (tmp_path / "copy.pt").write_bytes(FIRST)
    assert resolve(str(tmp_path / "copy.pt")).name == "copy.pt"
    cache.mkdir()
    (cache / "net.pt").write_bytes(FIRST)
    assert resolve("net").name == "net"
    assert resolve(str(tmp_path / "copy.pt")).name == "copy.pt"


def test_a_length_that_is_no_number_counts_as_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FIRST, "\N{SUPERSCRIPT TWO}") as url:
        offer(monkeypatch, url)
        assert resolve("net", progress=False).sha256 == hashlib.sha256(FIRST).hexdigest()


def test_what_killed_downloads_left_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    for name in (".part-old.pt", ".part-of-one-that-runs.pt", "old.pt"):
        (cache / name).write_bytes(b"half")
    for name in (".part-old.pt", "old.pt"):
        os.utime(cache / name, (time.time() - 7200,) * 2)
    with serving(FIRST) as url:
        offer(monkeypatch, url)
        resolve("net", progress=False)
    assert names(cache) == [".part-of-one-that-runs.pt", "net.pt", "old.pt"]


@pytest.mark.parametrize("place", ["~no-such-user/x", "x" * 300, "file"])
def test_a_place_that_cannot_be_a_folder_is_a_usage_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VADPIPE_WEIGHTS", place)
    with pytest.raises(UsageError, match=r"VADPIPE_WEIGHTS: got .*, which cannot be used .*Set VADPIPE_WEIGHTS"):
        weights_cache.cache_folder()


def test_an_archive_of_code_is_not_opened_by_a_recorded_digest(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def executed(*_: Any, **__: Any) -> None:
        raise AssertionError("opened as code")

    monkeypatch.setattr(torch.jit, "load", executed)
    with serving(FIRST) as url:
        offer(monkeypatch, url, torchscript=True)
        assert list(read_state(resolve("net", progress=False))) == ["w"]


def test_an_encrypted_address_must_not_lead_to_an_open_one() -> None:
    handler, request = _NoDowngrade(), Request("https://a.example/w.pt")
    found = handler.redirect_request(request, None, 302, "Found", Message(), "https://b.example/w.pt")
    assert found is not None
    assert found.full_url == "https://b.example/w.pt"
    with pytest.raises(OSError, match="not encrypted"):
        handler.redirect_request(request, None, 302, "Found", Message(), "http://b.example/w.pt")
