"""Where weights come from: cache, download, path, seed; and that nothing unknown is executed or accepted."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.extractors.weights_server import closed_port_url, serving
from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import EXTRACTORS, create
from vadpipe.extractors import weights as module
from vadpipe.extractors.state_file import SUFFIXES
from vadpipe.extractors.untrained import random_values, state_sha256
from vadpipe.extractors.weights import (
    KNOWN,
    KnownWeights,
    Weights,
    check_fit,
    default_weights,
    is_named,
    parse_weights,
    read_state,
    resolve,
)

CONTENT = b"not a network, but known by its digest" * 1000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(folder))
    return folder


def publish(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes, *, torchscript: bool = False) -> None:
    """Make ``openai`` a file with this content."""
    known = KnownWeights(
        model="Test net",
        url=url,
        file_name="net.pt",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="MIT",
        torchscript=torchscript,
    )
    monkeypatch.setattr(module, "KNOWN", MappingProxyType({"openai": known}))


def test_the_table_says_what_it_has_to() -> None:
    assert len({known.file_name for known in KNOWN.values()}) == len(KNOWN)
    for name, known in KNOWN.items():
        assert known.licence, name
        assert known.model, name
        assert re.fullmatch(r"https?://\S+", known.url), name
        assert re.fullmatch(r"([0-9a-f]{64})?", known.sha256), name
        assert Path(known.file_name).suffix in SUFFIXES, name
        assert known.sha256 or not known.torchscript, "code is opened only by a published digest"


def test_every_stream_has_published_weights() -> None:
    assert {stream: KNOWN[default_weights(stream)].stream for stream in EXTRACTORS} == {s: s for s in EXTRACTORS}
    with pytest.raises(UsageError, match="for the stream 'i3d', only for clip, i3d-inception"):
        default_weights("i3d")
    assert [is_named(choice) for choice in ("openai", "random", "random:3", "mine.pt", "imported")] == [
        *(True, True, True, False, False),
    ]


@pytest.mark.parametrize(
    ("values", "streams", "chosen"),
    [
        ((), ("clip", "c3d"), {"clip": "openai", "c3d": "c3d-sports1m"}),
        (("random:7",), ("clip", "c3d"), {"clip": "random:7", "c3d": "random:7"}),
        (("clip=a=b.pt", "random"), ("clip", "c3d"), {"clip": "a=b.pt", "c3d": "random"}),
        (("mine.pt",), ("clip",), {"clip": "mine.pt"}),
        (("a=b.pt",), ("clip",), {"clip": "a=b.pt"}),
        (("openai",), ("c3d", "clip"), {"clip": "openai", "c3d": "c3d-sports1m"}),
        (("clip=random:1", "c3d=mine.pt"), ("clip", "c3d"), {"clip": "random:1", "c3d": "mine.pt"}),
    ],
)
def test_weights_are_chosen_per_stream(
    values: tuple[str, ...], streams: tuple[str, ...], chosen: dict[str, str]
) -> None:
    assert parse_weights(values, streams) == chosen


def test_only_what_was_said_is_chosen_where_nothing_is_to_be_filled_in() -> None:
    assert parse_weights((), ("clip", "c3d"), fill=False) == {}
    assert parse_weights(("c3d=mine.pt",), ("clip", "c3d"), fill=False) == {"c3d": "mine.pt"}
    assert parse_weights(("random",), ("clip", "c3d"), fill=False) == {"clip": "random", "c3d": "random"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("mine.pt",), "expected STREAM=PATH with a stream of clip, c3d"),
        (("clip=",), "expected STREAM=PATH"),
        (("clip=a.pt", "clip=b.pt"), "got a.pt and b.pt for the stream clip"),
        (("random", "random:1"), "expected one for all"),
        (("c3d=openai",), "openai is of the stream clip"),
        (("wav2clip=a.pt",), "wav2clip is not in use here"),
        (("wav2clip-vggsound",), "wav2clip is not in use here"),
    ],
)
def test_weights_that_fit_no_stream_are_a_usage_error(values: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_weights(values, ("clip", "c3d"))


def test_known_weights_of_another_stream_are_refused_before_a_download() -> None:
    with pytest.raises(UsageError, match="openai are of the stream clip, not of c3d"):
        create("c3d", weights="openai")


def test_openai_carries_its_digest_in_the_url() -> None:
    known = KNOWN["openai"]
    assert known.url.split("/")[-2:] == [known.sha256, "ViT-B-16.pt"]
    assert known.licence == "MIT"


def test_the_first_use_downloads_and_the_second_does_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(CONTENT) as url:
        publish(monkeypatch, url, CONTENT)
        first = resolve("openai")
    assert first == Weights("openai", cache / "net.pt", hashlib.sha256(CONTENT).hexdigest())
    assert (cache / "net.pt").read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == ["net.pt"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Test net weights" in shown.err

    publish(monkeypatch, closed_port_url(), CONTENT)
    assert resolve("openai") == first


def test_without_progress_nothing_is_printed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(CONTENT) as url:
        publish(monkeypatch, url, CONTENT)
        resolve("openai", progress=False)
    assert capsys.readouterr() == ("", "")


def test_offline_and_missing_is_one_message_with_all_that_is_needed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = closed_port_url()
    publish(monkeypatch, url, CONTENT)
    with pytest.raises(WeightsError) as caught:
        resolve("openai", progress=False)
    for needed in (url, hashlib.sha256(CONTENT).hexdigest(), "MIT", str(cache / "net.pt"), "--weights PATH", "refused"):
        assert needed in str(caught.value)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("body", "announced"), [(CONTENT[:-7], len(CONTENT)), (CONTENT[:-7], None), (b"<html>please log in</html>", None)]
)
def test_a_broken_download_leaves_nothing_behind(
    body: bytes, announced: int | None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(body, announced) as url:
        publish(monkeypatch, url, CONTENT)
        with pytest.raises(WeightsError, match=hashlib.sha256(CONTENT).hexdigest()):
            resolve("openai", progress=False)
    assert not list(cache.iterdir())


def test_a_cache_folder_that_cannot_be_made_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path / "file" / "cache"))
    publish(monkeypatch, closed_port_url(), CONTENT)
    with pytest.raises(WeightsError, match="Not a directory"):
        resolve("openai", progress=False)


def test_a_damaged_file_in_the_cache_is_named_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, closed_port_url(), CONTENT)
    cache.mkdir()
    (cache / "net.pt").write_bytes(b"half")
    with pytest.raises(WeightsError, match=f"has sha256 {hashlib.sha256(b'half').hexdigest()}, expected .*Delete it"):
        resolve("openai")
    assert (cache / "net.pt").read_bytes() == b"half"


def test_the_default_cache_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VADPIPE_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.cache_folder() == tmp_path / ".cache" / "vadpipe" / "weights"


def test_a_path_is_hashed_and_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"abc")
    # the digest of "abc" in FIPS 180-4
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert resolve(str(path)) == Weights("mine.pt", path, digest)


def test_a_copy_of_a_known_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, closed_port_url(), CONTENT)
    path = tmp_path / "renamed.pt"
    path.write_bytes(CONTENT)
    assert resolve(str(path)).name == "openai"


def test_random_takes_its_seed_from_the_name_or_the_run() -> None:
    assert resolve("random", seed=5) == Weights("random:5", seed=5)
    assert resolve("random:7", seed=5) == Weights("random:7", seed=7)
    assert resolve("random").is_random


@pytest.mark.parametrize(
    "choice",
    ["random:", "random:-1", "random:x", "random:1.5", "no/such/file.pt", ".", "", "~no-such-user/x.pt", "x" * 300],
)
def test_a_choice_that_is_nothing_is_a_usage_error(choice: str) -> None:
    with pytest.raises(UsageError, match="weights: got"):
        resolve(choice)


def stored(path: Path, content: Any) -> Weights:
    torch.save(content, path)
    return resolve(str(path))


def test_half_precision_is_read_as_float32_and_integers_stay(tmp_path: Path) -> None:
    state = {"w": torch.tensor([0.1, -2.0], dtype=torch.float16), "n": torch.tensor(3)}
    save_file(state, tmp_path / "a.safetensors")
    for weights in (
        resolve(str(tmp_path / "a.safetensors")),
        stored(tmp_path / "b.pt", state),
        stored(tmp_path / "c.pth", {"state_dict": state, "epoch": 3}),
        stored(tmp_path / "d.pyth", {"model_state": state, "cfg": "text"}),
        stored(tmp_path / "e.pickle", state),
    ):
        got = read_state(weights)
        assert {name: tensor.dtype for name, tensor in got.items()} == {"w": torch.float32, "n": torch.int64}
        assert torch.equal(got["w"], state["w"].float())


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_a_pickle_that_holds_code_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="no plain state dict"):
        read_state(stored(tmp_path / "evil.pt", {"w": _Evil()}))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(WeightsError, match="no plain state dict"):
        read_state(resolve("plain.pt"))
    assert not Path("executed").exists()


def save_archive(path: Path) -> bytes:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.5], dtype=torch.float16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    jit: Any = torch.jit  # torch leaves its functions untyped
    jit.save(jit.trace(Net(), torch.ones(1, dtype=torch.float16)), path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:`torch.jit.(trace|trace_method|save)` is:DeprecationWarning")  # of the writing
def test_an_archive_is_opened_only_if_its_digest_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "archive.pt"
    content = save_archive(path)
    with pytest.raises(WeightsError, match=r"no plain state dict.*only when their sha256 is known"):
        read_state(resolve(str(path)))
    publish(monkeypatch, closed_port_url(), content, torchscript=True)
    state = read_state(resolve(str(path)))
    assert list(state) == ["weight"]
    assert state["weight"].dtype == torch.float32
    assert state["weight"].item() == 1.5


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth", "a.pyth", "a.pickle"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x00" * 100])
def test_a_damaged_file_is_one_message(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_state(resolve(str(path)))


def test_other_contents_and_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds list, expected a state dict"):
        read_state(stored(tmp_path / "list.pt", [torch.ones(1)]))
    with pytest.raises(WeightsError, match="expected a state dict"):
        read_state(stored(tmp_path / "mixed.pt", {"a": torch.ones(1), "epoch": 3}))
    with pytest.raises(WeightsError, match=r"got suffix '\.onnx', expected one of \.safetensors, \.pt, \.pth"):
        read_state(stored(tmp_path / "net.onnx", {}))
    with pytest.raises(ValueError, match="random:0 has no file"):
        read_state(resolve("random"))


def test_differences_of_names_and_shapes_are_listed() -> None:
    wanted = {"a": (2,), "b": (2, 3), "c": ()}
    check_fit({"a": torch.ones(2), "b": torch.ones(2, 3), "c": torch.tensor(1.0)}, wanted, "file")
    with pytest.raises(WeightsError) as caught:
        check_fit({"a": torch.ones(2), "b": torch.ones(3, 2), "d": torch.ones(1)}, wanted, "file")
    assert str(caught.value) == (
        "file does not fit the network, 3 differences: c: missing; d: not part of the network; "
        "b: got shape (3, 2), expected (2, 3)"
    )
    with pytest.raises(WeightsError, match=r"9 differences: .*; and 4 more$"):
        check_fit({f"x{index}": torch.ones(1) for index in range(6)}, wanted, "file")


def test_random_values_are_the_same_everywhere() -> None:
    pinned = [[0.27094677090644836, -1.1388015747070312], [1.5695091485977173, 0.8720218539237976]]
    got = random_values("visual.proj", (2, 2), 1.0, 0)
    np.testing.assert_array_equal(got, np.array(pinned, dtype=np.float32))
    assert got.dtype == np.float32
    many = random_values("w", (1000, 100), 0.5, 3)
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 0.5) < 0.01
    assert np.abs(many).max() <= 0.5 * 3**0.5
    assert not np.array_equal(many, random_values("w", (1000, 100), 0.5, 4))
    assert not np.array_equal(many, random_values("v", (1000, 100), 0.5, 3))


def test_the_digest_sees_names_shapes_and_values() -> None:
    ones, zeros = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    digest = state_sha256([("a", ones), ("b", zeros)])
    assert digest == state_sha256([("b", zeros), ("a", ones)])
    others = [
        [("a", zeros), ("b", ones)],
        [("a", ones.reshape(3, 2)), ("b", zeros)],
        [("a", ones), ("c", zeros)],
        [("a", ones)],
    ]
    assert len({digest, *(state_sha256(other) for other in others)}) == 5
