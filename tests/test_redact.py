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
        ("sent Basic dXNlcjpwdw==", "sent Basic ***"),
        ("sent Basic dXNlcjpwdzEyMzQ1", "sent Basic ***"),
        ("Cookie: id=7431; b=2", "Cookie: ***"),
        ("rtsp://admin:geh eim@cam/1", "rtsp://***@cam/1"),
        ('rtsp://admin:ge"heim@cam/1', "rtsp://***@cam/1"),
        ("//u:pw@h/x", "//***@h/x"),
        (r"https:\/\/u:pw@h\/x", r"https:\/\/***@h\/x"),
        ("{'token': 'abcdefgh'}", "{'token': '***'}"),
        ('{"password":"abc, d"}', '{"password":"***"}'),
        (r'"{\"api_key\": \"abcdefgh\"}"', r'"{\"api_key\": \"***\"}"'),
        ("password: x", "password: ***"),
        ("password = hunter2", "password = ***"),
        ("PGPASSWORD=abc", "PGPASSWORD=***"),
        ("pwd=hunter2", "pwd=***"),
        ("token: abcdefgh12345678", "token: ***"),
        ("sk-abcdefghijklmnopqrstuv", "***"),
        ("sk-ant-api03-abcdefghij-klmnopqrst", "***"),
        ("sk-Abcdefg-hijklmn-opqrstu-vwxyz-0123456", "***"),
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
        "fortune cookie: no video stream",
        "cookie: decoder crashed (signal=11)",
        "videos/basic training 01.mp4: not a video",
        "category 'basic violence_weapons'",
        "/data/sk-kings-vs-riders-2021-highlights.mp4",
        "/data/sk-the-kings-vs-the-riders-2021-all-highlights.mp4",
        "nas:/export/me@lab/v.mp4",
        "C:/Users/me@work/x#1.mp4",
        "--set train.class_token=12345",
        "PWD=/data/videos OLDPWD=/data",
        "token: expected a text",
        "rtsp://camera:554/1 of me@lab",
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
def test_passwords_may_hold_blanks_and_quotes(scheme: str, password: str) -> None:
    password = password.replace("@", "")  # one of both kinds is known in a word only
    shown = redacted(f"no such file: {scheme}me:{password} \"'{password}@camera/x")
    assert shown == f"no such file: {scheme}{HIDDEN}@camera/x"


@given(schemes, secrets)
def test_errors_know_no_secrets_from_birth(scheme: str, password: str) -> None:
    address = f"{scheme}me:{password}@camera/x"
    for error in (UsageError(f"{address} is not there"), VideoUnreadable(f"{address}: broken")):
        assert password not in str(error)
        assert password not in repr(error)


_UNITS = ("a-", "a:/", "a://", "//a:", "https://", "http://u:x", "?a.", "?token-", ";a-", "eyJ-", "sk-", "cookie:",
          "a_", "basic ", "bearer a", "token: '", "password=", "@", "=", "a:", " ", "x", '"', "\\/")  # fmt: skip


def test_the_work_grows_with_the_length_of_a_text_and_no_faster() -> None:
    """Where a pattern begins anew at each place of a long run, one of these takes hours."""
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_CPU, (40, 40))\n"
        "from vadpipe.cli_output import visible\nfrom vadpipe.errors import DataError\n"
        "from vadpipe.redact import host_of, redacted\n"
        "for unit in sys.stdin.read().split('\\0'):\n"
        "    for text in (unit * 10**5, unit * 10**5 + '=', '?' + unit * 10**5 + '@'):\n"
        "        redacted(text), visible(text), str(DataError(text)), host_of(text)\n"
        "print('done')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="\0".join(_UNITS), capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", f"ended by {done.returncode}: {done.stderr[-500:]}"


def test_a_message_has_a_length_that_somebody_reads() -> None:
    address = f"https://me:{SECRET}@camera/x"
    for text in ("x" * 10**6, f"{address} " * 10**4, "x" * 3990 + address, "x" * 7990 + address + "y" * 10**5):
        said = str(UsageError(f"begin {text} end"))
        assert len(said) <= 4000
        assert said.startswith("begin ")
        assert said.endswith(" end")
        assert SECRET not in said
        assert "7431" not in said
    assert len(visible("x" * 10**6)) <= 100_000
    assert str(UsageError("x" * 4000)) == "x" * 4000


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


def test_a_bug_in_a_thread_is_as_loud_and_tells_no_more(tmp_path: Path) -> None:
    code = (
        "import threading\nfrom vadpipe import cli\n"
        f"def broken(): raise RuntimeError('\\x1b[31m https://u:{SECRET}@h/')\n"
        "def starts(**_):\n    thread = threading.Thread(target=broken)\n    thread.start()\n    thread.join()\n"
        "cli.cli.main = starts\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "RuntimeError: \\x1b[31m https://***@h/" in done.stderr
    assert "\x1b" not in done.stderr
    assert SECRET not in done.stderr


def test_what_click_says_of_arguments_is_text(tmp_path: Path) -> None:
    """A shell may have put the names of files there."""
    code = (
        "import sys\nfrom vadpipe import cli\nsys.argv = ['vadpipe', 'demo', '\\x1b]52;c;ZXZpbA==\\x07']\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "unexpected extra argument" in done.stderr
    assert "\\x1b]52;c;ZXZpbA==\\x07" in done.stderr
    assert "\x1b" not in done.stderr


def test_messages_and_tables_hide_them(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"note: https://u:{SECRET}@h/x")
    assert capsys.readouterr().err == "note: https://***@h/x\n"
    assert visible(f"x?sig={SECRET}") == "x?sig=***"


def test_a_path_that_is_told_twice_is_told_once() -> None:
    path = Path(f"https:/u:{SECRET}@h/x.mp4")
    assert said_of(path, UsageError(f"{path}: broken")).count("broken") == 1
    assert SECRET not in str(UsageError(said_of(path, UsageError(f"{path}: broken"))))
    assert said_of(path, UsageError(f"{path}: broken")) == f"{path}: broken"


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
