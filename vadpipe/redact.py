"""Secrets in addresses and texts: what stands in their place wherever vadpipe shows, logs or records something.

An address can hold a password (``rtsp://user:password@camera/``), or a right to read (``?token=…``, the ``sig=`` and
``X-Amz-Signature=`` of signed links). :func:`redacted` takes these out of any text, so it also serves for messages of
libraries that repeat an address. It rather takes too much than too little; the rest of the text stays as it is.

Texts may be anybody's: no pattern here begins anew inside a run that it has looked at, and runs have a bound, so that
the work grows with the length of a text and no faster. docs/security.md says what is found and what is not.
"""

from __future__ import annotations

import re

HIDDEN = "***"
"""What stands for a secret."""

# What the name of a parameter holds whose value is a secret: X-Amz-Signature, hf_token, api-key, client_secret, …
_TELLING = re.compile(
    r"(?:^|[-_.%\[])(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_.]?key|access[-_.]?key|private[-_.]?key"
    r"|account[-_.]?key|credentials?|signature|sig|auth(?:orization)?|session|jwt|bearer|sas)(?:[-_.%\[\]]|$)",
    re.IGNORECASE,
)
_SLASH = r"\\?/"  # JSON may write it with a backslash
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,40}:"
_NETWORK = r"(?:https?|rtsps?|rtmp(?:s|e|t|te|ts)?|s?ftps?|s3|gs|wss?|smb|srt|udp|tcp|tls|mmsh?|ssh|scp|davs?):"
# An address begins with two slashes, or with one, as paths are written, behind a scheme that is no drive and no host.
_BEGIN = re.compile(
    rf"(?<![A-Za-z0-9+.-])(?:{_SCHEME}{_SLASH}{_SLASH}|{_NETWORK}{_SLASH})|{_SLASH}{_SLASH}(?=[^\s/@:]{{1,64}}:)",
    re.IGNORECASE,
)
# A password may hold blanks and quotes; host:port is no user with a password.
_USER = re.compile(
    rf"((?<![A-Za-z0-9+.-])(?:{_SCHEME}{_SLASH}{_SLASH}|{_NETWORK}{_SLASH}))"
    r"[^\s/@:\"<>]{0,64}:(?!\d{1,5}(?![^/?#\s]))(?=[^\s/])[^@\r\n]{0,200}@",
    re.IGNORECASE,
)
_RUN = re.compile(r"[^\s\"<>]+")
_PARAMETER = re.compile(r"([?&;#])([\w.%\[\]-]{1,200}+)=[^&;#\s\"'<>]+")
_PASSWORD = re.compile(r"(?:password|passwd|passphrase|(?:^|[_-])pwd)\Z", re.IGNORECASE)
_SECRET = re.compile(
    r"(?:(?:^|[_-])(?:secret|token|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key)|_KEY)\Z", re.IGNORECASE
)
_SETTING = re.compile(
    r"(?<![\w-])([A-Za-z0-9_-]{3,100}+)(\\?[\"']?\s{0,2}[=:]\s{0,2})"
    r"(?:(\\?[\"'])([^\"'\r\n\\]{1,500})(?=\\?[\"'])|([^\s&\"',;)}]{1,1000}+))"
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-api-key|x-auth-token|(?:set-)?cookie(?=[\"']?\s{0,5}[:=]\s{0,5}[\"']?[^\s=;\"']{1,100}=))"
    r"([\"']?\s{0,5}[:=]\s{0,5}[\"']?)[^\r\n\"'}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(
    r"\b(?:(bearer\s{1,5})(?=[A-Za-z0-9._~+/-]{0,300}[0-9=])[A-Za-z0-9._~+/=-]{10,}"
    r"|(basic\s{1,5})(?:(?=[A-Za-z+/]{0,300}[0-9=])[A-Za-z0-9+/=]{16,}|[A-Za-z0-9+/]{6,300}={1,2}))",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,}|KGAT_[0-9a-f]{16,})"
    r"|(?<![\w-])(?:sk-(?:ant|proj|svcacct|admin|live|test)-[\w-]{20,}|sk-[A-Za-z0-9]{20,}(?![\w-])"
    r"|sk-(?=[\w-]{0,300}[0-9])(?=[\w-]{0,300}[A-Z])[\w-]{32,}|eyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]*)"
)
_HOST = re.compile(rf"({_SCHEME}/{{1,2}})(?:.*@)?([^/?#\s]*)", re.DOTALL)


def redacted(text: str) -> str:
    """``text`` without passwords, tokens and signatures; a text without any is returned as it is.

    Of addresses nothing but scheme, host and path remains.
    """
    if "/" in text:
        text = _RUN.sub(_address, _USER.sub(rf"\1{HIDDEN}@", text))
    if "=" in text or ":" in text:
        text = _SETTING.sub(_setting, _HEADER.sub(rf"\1\2{HIDDEN}", _PARAMETER.sub(_parameter, text)))
    text = _BEARER.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", text)
    return _SHAPES.sub(HIDDEN, text)


def brief(text: str, most: int = 4000) -> str:
    """:func:`redacted`, and at most ``most`` characters: of a longer text the middle goes, the ends stay."""
    if len(text) > 4 * most:  # what is cut through here lies in the middle, which goes
        text = f"{text[: 2 * most]} … {text[-2 * most :]}"
    text = redacted(text)
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]} … {text[len(text) - half :]}"


def is_address(text: str) -> bool:
    """Whether a text that should be a path is an address: ``rtsp://…``, or ``rtsp:/…``, which paths make of it."""
    return _HOST.match(text) is not None


def host_of(address: str) -> str:
    """``rtsp://camera`` of the whole text ``rtsp://user:password@camera/stream?token=…``, whatever is in it."""
    found = _HOST.match(address)
    return f"{found[1].rstrip('/')}//{redacted(found[2])}" if found else HIDDEN


def _address(found: re.Match[str]) -> str:
    """A word; where it holds an address, without its user and query."""
    word = found[0]
    if (begin := _BEGIN.search(word)) is None:
        return word
    if (at := word.rfind("@")) >= begin.end():  # the last: whoever forgets to escape a password has one in it
        word = f"{word[: begin.end()]}{HIDDEN}{word[at:]}"
    ask = min((place for sign in "?#" if (place := word.find(sign, begin.end())) >= 0), default=len(word) - 1)
    return f"{word[:ask]}?{HIDDEN}" if ask < len(word) - 1 else word


def _parameter(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={HIDDEN}" if _TELLING.search(found[2]) else found[0]


def _setting(found: re.Match[str]) -> str:
    name, sign, quote, quoted, bare = found.groups()
    if not _is_secret(name, sign, quoted or bare, is_quoted=quote is not None):
        return found[0]
    return f"{name}{sign}{quote or ''}{HIDDEN}"


def _is_secret(name: str, sign: str, value: str, *, is_quoted: bool) -> bool:
    if _PASSWORD.search(name):
        return not (name.lower().endswith("pwd") and value.startswith("/"))  # the shell's present folder
    if not _SECRET.search(name) or value.isdecimal():  # a number of tokens
        return False
    if is_quoted:
        return len(value) >= 8
    if sign == "=":
        return len(value) >= 4
    return len(value) >= 16 and any(char.isdecimal() for char in value)  # prose has colons, too
