"""No secret of an address leaves vadpipe: not in errors, on the terminal, in a model card or in a traceback."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from string import ascii_letters, digits
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.detected import small_head
from vadpipe.cli_output import say, say_crash, visible
from vadpipe.errors import UsageError, VideoUnreadable, WeightsError
from vadpipe.extractors import weights_cache
from vadpipe.extractors.weights import resolve
from vadpipe.extractors.weights_table import KNOWN
from vadpipe.models.checkpoint import model_card
from vadpipe.pipeline.detecting.inputs import find_inputs
from vadpipe.pipeline.videos import find_videos, said_of
from vadpipe.redact import HIDDEN, host_of, is_address, redacted

SECRET = "geheim-7431"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:pw@camera.local/1", "rtsp://***@camera.local/1"),
        ("rtsp:/admin:pw@camera/1", "rtsp:/***@camera/1"),  # as a path is written
        ("rtsp://admin:p@ss/w@camera/1", "rtsp://***@camera/1"),
        ("https://user@host/x", "https://***@host/x"),
        ("https://h/a.pt?token=abc&x=1", "https://h/a.pt?***"),
        ("https://h/a.pt?X-Amz-Signature=ff&X-Amz-Expires=60", "https://h/a.pt?***"),
        ("https://h/a.pt#access_token=x", "https://h/a.pt?***"),
        ("see 'https://h/a?sig=1' and https://h/b", "see 'https://h/a?*** and https://h/b"),
        ("clip=https://u:p@h/a.pt", "clip=https://***@h/a.pt"),
        ("a.mp4?token=abc&x=1", "a.mp4?token=***&x=1"),
        ("x&hf_api-key=abc;y", "x&hf_api-key=***;y"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'Authorization': 'Basic dXNlcjpwdw=='}", "{'Authorization': '***'}"),
        ("sent Bearer abcdefgh12", "sent Bearer ***"),
        ("HF_TOKEN=abcd KAGGLE_KEY=efgh x", "HF_TOKEN=*** KAGGLE_KEY=*** x"),
        ("aws_secret_access_key=AA/BB+CC", "aws_secret_access_key=***"),
        ("got hf_abcdefghijklmnopqrstuvw", "got ***"),
        ("got ghp_abcdefghijklmnopqrstuvw", "got ***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.abc", "***"),
    ],
)
def test_secrets_by_hand(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "/data/a@b.mp4",
        "no such file: videos/me@work: take 2.mp4",
        "https://openaipublic.azureedge.net/clip/models/5806e77c/ViT-B-16.pt",
        "model.token_embedding=5",
        "CLIP reads 77 tokens; token = 77",
        "r_cls=0.1, seed=3, key=2",
        "C:/videos/x.mp4",
        "sig 3; basic skills; the bearer of it",
        "sha256 " + "ab" * 32,
        "",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert redacted(text) == text


secrets = st.text(ascii_letters + digits + "-._~%!$&'()*+,;=:@", max_size=24).map("Geheim{}7".format)
plain = st.text(ascii_letters + digits, min_size=6, max_size=30)
schemes = st.sampled_from(["rtsp://", "https://", "http://", "s3://", "ftp://", "rtmp://", "rtsp:/", "HTTPS://"])
_NAMED = ("token", "access_token", "X-Amz-Signature", "X-Amz-Security-Token", "sig", "api_key", "key", "password", "q")
names = st.sampled_from(_NAMED)


@given(schemes, secrets, secrets, st.sampled_from(["", ":554", ":8080"]))
def test_no_password_of_any_address_is_shown(scheme: str, user: str, password: str, port: str) -> None:
    shown = redacted(f"cannot open {scheme}{user}:{password}@camera{port}/stream/1.mp4, try again")
    assert password not in shown
    assert shown == f"cannot open {scheme}{HIDDEN}@camera{port}/stream/1.mp4, try again"
    assert password not in host_of(f"{scheme}{user}:{password}@camera{port}/x")


@given(schemes, names, plain, names, plain)
def test_no_value_of_any_query_is_shown(scheme: str, one: str, secret: str, two: str, other: str) -> None:
    shown = redacted(f"{scheme}bucket.host/a.pt?{one}={secret}&{two}={other} is gone")
    assert shown == f"{scheme}bucket.host/a.pt?{HIDDEN} is gone"


@given(schemes, secrets)
def test_errors_know_no_secrets_from_birth(scheme: str, password: str) -> None:
    address = f"{scheme}me:{password}@camera/x"
    for error in (UsageError(f"{address} is not there"), VideoUnreadable(f"{address}: broken")):
        assert password not in str(error)
        assert password not in repr(error)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmps", "http", "https", "s3", "file"])
@pytest.mark.parametrize("find", [find_inputs, find_videos])
def test_an_address_is_no_video_and_is_told_so(find: object, scheme: str) -> None:
    address = f"{scheme}://admin:{SECRET} x/y@camera:554/1?token={SECRET}#{SECRET}"
    with pytest.raises(UsageError, match="is an address") as caught:
        find([Path(address)])  # type: ignore[operator]  # both take places
    assert SECRET not in str(caught.value)
    assert f"{scheme}://camera:554" in str(caught.value)
    assert "ffmpeg" in str(caught.value)
    assert is_address(address)
    assert not any(map(is_address, ("a.mp4", "/a/b.mp4", "a:b", "C:\\x", "x y://z")))


def test_the_command_line_repeats_no_secret(tmp_path: Path) -> None:
    address = f"rtsp://admin:{SECRET}@camera/1?token={SECRET}"
    commands = [
        ["detect", address],
        ["extract", address],
        ["extract", "--weights", f"clip={address}", "."],
        ["detect", "x.mp4", "--calibration", address],
        ["detect", f"--{address}"],
        ["evaluate", "--truth", address],
        ["import", "labels", address],
        [address],
    ]
    code = (
        "import sys\nfrom vadpipe import cli\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv = ['vadpipe', *line.split('\\t')]\n"
        "    try:\n        cli.main()\n    except SystemExit as end:\n        print('ended', end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join("\t".join(command) for command in commands),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.count("ended") == len(commands), done.stderr
    assert "ended 0" not in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_tracebacks_are_text_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError(f"\x1b]52;c;evil\x07 https://u:{SECRET}@h/ \u202e")
    except RuntimeError as error:
        say_crash(type(error), error, error.__traceback__)
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "RuntimeError: \\x1b]52;c;evil\\x07 https://***@h/ \\u202e" in told
    assert SECRET not in told


def test_a_bug_of_the_command_line_is_loud_and_tells_no_secret(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom vadpipe import cli\n"
        f"def broken(**_): raise RuntimeError('\\x1b[31m https://u:{SECRET}@h/')\n"
        "cli.cli.main = broken\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "RuntimeError: \\x1b[31m https://***@h/" in done.stderr
    assert "Traceback" in done.stderr
    assert "\x1b" not in done.stderr


def test_messages_and_tables_hide_them(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"note: https://u:{SECRET}@h/x")
    assert capsys.readouterr().err == "note: https://***@h/x\n"
    assert visible(f"x?sig={SECRET}") == "x?sig=***"


def test_a_path_that_is_told_twice_is_told_once() -> None:
    path = Path(f"https:/u:{SECRET}@h/x.mp4")
    assert said_of(path, UsageError(f"{path}: broken")).count("broken") == 1
    assert SECRET not in str(UsageError(said_of(path, UsageError(f"{path}: broken"))))


def test_a_model_card_holds_none() -> None:
    head = replace(small_head(), provenance={"text_weights": f"https://u:{SECRET}@h/x?token={SECRET}"})
    assert SECRET not in model_card(head, "0" * 64)


def test_weights_given_as_an_address_are_refused_without_it() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(f"https://u:{SECRET}@h/x.pt?token={SECRET}")
    assert SECRET not in str(caught.value)


def test_a_download_that_is_led_to_a_signed_address_does_not_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused:
        def open(self, *_: object, **__: object) -> io.BytesIO:
            raise URLError(f"http://proxy:{SECRET}@cache/x?X-Amz-Signature={SECRET} leads nowhere")

    monkeypatch.setattr(weights_cache, "build_opener", lambda *_: Refused())
    known = next(iter(KNOWN.values()))
    with pytest.raises(WeightsError, match="download failed") as caught:
        weights_cache.download(known, tmp_path / known.file_name, lambda _: None, progress=False)
    assert SECRET not in str(caught.value)
    assert known.url in str(caught.value)
