"""The table of weights and what is here of it; every encoder refuses a file that is not its own."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from click.testing import CliRunner, Result

from tests.extractors.test_weights_cache import saved
from tests.extractors.weights_server import closed_port_url, serving
from vadpipe import extractors
from vadpipe.cli import cli
from vadpipe.errors import StoreError, UsageError, WeightsError
from vadpipe.extractors import EXTRACTORS, create, weights_cache
from vadpipe.extractors import weights as module
from vadpipe.extractors.weights import KnownWeights
from vadpipe.pipeline import weights as pipeline
from vadpipe.pipeline.weights import get, look, verify

CONTENT = saved({"w": torch.ones(2)})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def offer(monkeypatch: pytest.MonkeyPatch, url: str, *, fits: bool = True) -> None:
    """Make ``net`` the only published file, and an encoder that accepts what it is given, or nothing."""

    def build(_: str, weights: str) -> None:
        if not fits:
            raise WeightsError(f"{weights} does not fit the network, 1 differences: v: missing")

    known = MappingProxyType({"net": KnownWeights("Test net", url, "net.pt", "", "MIT", stream="c3d")})
    for place in (module, pipeline):
        monkeypatch.setattr(place, "KNOWN", known)
    monkeypatch.setattr(pipeline, "create", build)


@pytest.mark.parametrize("stream", EXTRACTORS)
def test_every_encoder_refuses_a_file_with_other_names_when_it_is_built(stream: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"w\.pt does not fit the network, \d+ differences: .*missing.*and \d+ more"):
        create(stream, weights=str(tmp_path / "w.pt"))


def test_the_states_of_a_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, closed_port_url())
    missing = look("net")
    assert (missing.state, missing.sha256, missing.ok) == ("missing", "", False)
    assert "not published" in missing.origin
    assert verify("net") == missing

    (cache / "net.pt").write_bytes(CONTENT)
    assert (look("net").state, look("net").sha256, look("net").size_bytes) == ("present", "", len(CONTENT))
    checked = verify("net")  # fits, and so it is recorded
    assert checked.ok
    assert checked.origin.startswith("recorded here on 2")
    assert look("net") == checked

    (cache / "net.pt").write_bytes(CONTENT + b" ")
    damaged = verify("net")
    assert damaged.state == "damaged"
    assert "expected " + checked.sha256 in damaged.reason
    (cache / "net.pt.json").write_text("{}")
    assert look("net").state == "damaged"


def test_what_does_not_fit_is_not_recorded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, closed_port_url(), fits=False)
    (cache / "net.pt").write_bytes(CONTENT)
    found = verify("net")
    assert (found.state, found.ok) == ("does not fit", False)
    assert "v: missing" in found.reason
    assert not (cache / "net.pt.json").exists()


@pytest.mark.parametrize("stream", EXTRACTORS)
def test_no_encoder_records_a_download_that_does_not_fit(
    stream: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CONTENT) as url:
        known = MappingProxyType({"net": KnownWeights("Test net", url, "net.pt", "", "MIT", stream=stream)})
        for place in (module, pipeline, extractors):
            monkeypatch.setattr(place, "KNOWN", known)
        with pytest.raises(WeightsError, match=r"does not fit the network.* Delete \S+net\.pt to download it again"):
            get("net", progress=False)
        with pytest.raises(WeightsError, match=r"does not fit the network.* Delete \S+net\.pt to download it again"):
            create(stream, weights="net")
    assert [path.name for path in cache.iterdir()] == ["net.pt"]
    assert verify("net").state == "does not fit"


def test_a_folder_that_cannot_be_written_is_no_misfit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise StoreError(f"cannot write {path}: read-only")

    offer(monkeypatch, closed_port_url())
    (cache / "net.pt").write_bytes(CONTENT)
    monkeypatch.setattr(weights_cache, "atomic_write", refuse)
    found = verify("net")
    assert (found.state, "cannot be recorded" in found.reason) == ("damaged", True)


def test_a_missing_package_leaves_the_names_unchecked_and_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(_: str, weights: str) -> None:
        raise UsageError("pip install it")

    offer(monkeypatch, closed_port_url())
    monkeypatch.setattr(pipeline, "create", build)
    (cache / "net.pt").write_bytes(CONTENT)
    assert verify("net").ok
    assert "names and shapes not checked: pip install it" in verify("net").reason
    assert not (cache / "net.pt.json").exists()
    assert "sha256 not recorded (not published: " in run("get", "net", "-q").stderr


def test_get_downloads_once_and_checks(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CONTENT) as url:
        offer(monkeypatch, url)
        first = get("net", progress=False)
    assert first.ok
    offer(monkeypatch, closed_port_url())
    assert get("net", progress=False).sha256 == first.sha256
    offer(monkeypatch, closed_port_url(), fits=False)
    with pytest.raises(WeightsError, match="does not fit"):
        get("net", progress=False)
    with pytest.raises(UsageError, match="got 'nix', expected one of net"):
        get("nix")
    assert (cache / "net.pt").read_bytes() == CONTENT


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["weights", *arguments])


def test_the_command_lists_gets_and_verifies(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("list").exit_code == 0
    (line,) = [row for row in json.loads(run("list", "--json").stdout) if row["name"] == "openai"]
    assert (line["state"], line["sha256_origin"], line["licence"]) == ("missing", "published", "MIT")
    assert run("verify").exit_code == 0  # nothing here, nothing wrong

    with serving(CONTENT) as url:
        offer(monkeypatch, url)
        done = run("get", "net", "-q")
    assert done.exit_code == 0
    assert "(recorded here on 2" in done.stderr
    assert "recorded here on" in run("list").stdout
    assert run("verify", "net").exit_code == 0
    (cache / "net.pt").write_bytes(b"half")
    done = run("verify", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)[0]["state"] == "damaged"
    (cache / "net.pt").unlink()
    assert (run("verify").exit_code, run("verify", "net").exit_code) == (0, 1)
    assert isinstance(run("get", "net").exception, WeightsError)
