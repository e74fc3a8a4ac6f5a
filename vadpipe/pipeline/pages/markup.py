"""HTML that is escaped unless it was made here, and pages in which only their own script and style may run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from typing import Any

# What HTML cannot hold even as a character reference: control characters, half surrogate pairs (file names that are
# not UTF-8 come with these), non-characters.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset({"br", "img", "link", "meta"})


class Markup(str):
    """Text that is HTML already; anything else is escaped where it goes into a page."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any value as harmless HTML text; what HTML cannot hold is written as Python writes it in a string."""
    if isinstance(value, Markup):
        return value
    told = _UNSPEAKABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), str(value))
    return Markup(html.escape(told, quote=True))


def joined(*children: object) -> Markup:
    """Several pieces, one after the other, each escaped where it needs to be."""
    return Markup("".join(text(child) for child in children))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """``<name …>children</name>``; an attribute is left out where it is None or False, bare where it is True.

    Underscores in attribute names stand for hyphens, and one at the end is dropped: ``aria_label``, ``class_``.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            said = key.rstrip("_").replace("_", "-")
            parts.append(said if value is True else f'{said}="{text(value)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in _VOID else f"{opening}{joined(*children)}</{name}>")


def name_of(value: str) -> Markup:
    """A name that somebody else chose, kept from turning round the text beside it (``bdi``)."""
    return element("bdi", value)


def data_block(name: str, values: Any) -> Markup:
    """JSON in a script element that no browser runs; it can neither end the element nor begin a comment."""
    told = json.dumps(values, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        told = told.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{text(name)}">{told}</script>')


def csp_hash(content: str) -> str:
    """How a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def policy(script: str, style: str, media: str = "'none'") -> str:
    """The content security policy of a page: nothing from elsewhere, nothing inline but this script and this style."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {csp_hash(script)}" if script else "script-src 'none'",
            f"style-src {csp_hash(style)}",
            "img-src data:",
            f"media-src {media}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def page(
    title: str, body: Markup, *, style: str, script: str = "", media: str = "'none'", embedded: bytes = b""
) -> bytes:
    """A whole page, UTF-8. ``style`` and ``script`` are of this package; they are not escaped.

    ``embedded`` is base64, and may be so large that it should not be copied often: it goes into an element
    ``#embedded`` that no browser runs.
    """
    if "</style" in style.lower() or "</script" in script.lower() or "<!--" in script:
        raise ValueError("style or script would end before its end")
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(script, style, media)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )
    end = Markup(f"<script>{script}</script>") if script else Markup("")
    opening = f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}'.encode()
    block = (b'<script type="application/octet-stream" id="embedded">', embedded, b"</script>") if embedded else ()
    return b"".join((opening, *block, f"{end}</body>\n</html>\n".encode()))
