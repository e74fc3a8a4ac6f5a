"""Secrets in addresses and texts: what stands in their place wherever vadpipe shows, logs or records something.

An address can hold a password (``rtsp://user:password@camera/``), or a right to read (``?token=…``, the ``sig=`` and
``X-Amz-Signature=`` of signed links). :func:`redacted` takes these out of any text, so it also serves for messages of
libraries that repeat an address. It rather takes too much than too little; the rest of the text stays as it is.
"""

from __future__ import annotations

import re

HIDDEN = "***"
"""What stands for a secret."""

# What the name of a parameter holds whose value is a secret: X-Amz-Signature, hf_token, api-key, client_secret, …
_TELLING = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_.]?key|access[-_.]?key|private[-_.]?key|account[-_.]?key"
    r"|credentials?|signature|sig|auth(?:orization)?|session|jwt|bearer|sas)"
)
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,40}:/{1,2}"
_USER = re.compile(rf"({_SCHEME})[^\s\"<>]*@")  # to the last @: whoever forgets to escape a password has one in it
_QUERY = re.compile(rf"({_SCHEME}[^\s?#\"<>]*)[?#][^\s\"<>]+")
_PARAMETER = re.compile(
    rf"([?&;#](?:[\w.%\[\]-]*[-_.%\[])?{_TELLING}(?:[-_.%\[\]][\w.%\[\]-]*)?=)[^&;#\s\"'<>]+", re.IGNORECASE
)
_SETTING = re.compile(
    r"\b((?:[A-Za-z0-9]+[_-])*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)=|[A-Z0-9]+(?:_[A-Z0-9]+)*_KEY=)"
    r"[^\s&\"',;)}]{4,}",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-api-key|x-auth-token|(?:set-)?cookie)([\"']?\s*[:=]\s*[\"']?)[^\r\n\"'}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|KGAT_[0-9a-f]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_HOST = re.compile(rf"({_SCHEME})(?:.*@)?([^/?#\s]*)", re.DOTALL)


def redacted(text: str) -> str:
    """``text`` without passwords, tokens and signatures; a text without any is returned as it is.

    Of addresses nothing but scheme, host and path remains.
    """
    if ":/" in text:
        text = _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
    if "=" in text:
        text = _SETTING.sub(rf"\1{HIDDEN}", _PARAMETER.sub(rf"\1{HIDDEN}", text))
    text = _BEARER.sub(rf"\1\2{HIDDEN}", _HEADER.sub(rf"\1\2{HIDDEN}", text))
    return _SHAPES.sub(HIDDEN, text)


def is_address(text: str) -> bool:
    """Whether a text that should be a path is an address: ``rtsp://…``, or ``rtsp:/…``, which paths make of it."""
    return _HOST.match(text) is not None


def host_of(address: str) -> str:
    """``rtsp://camera`` of the whole text ``rtsp://user:password@camera/stream?token=…``, whatever is in it."""
    found = _HOST.match(address)
    return f"{found[1].rstrip('/')}//{redacted(found[2])}" if found else HIDDEN
