"""HTML that is escaped by itself, and the policy that lets only a page's own script and style run."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.html_scene import Parsed
from vadpipe.pipeline.pages.markup import Markup, data_block, element, joined, page, policy, text

HOSTILE = "</script><img src=x onerror=alert(1)><!--\"'&"


@given(st.text(alphabet="<>/!-&\"'= ab\x00\udcff") | st.text())
def test_any_text_stays_text(name: str) -> None:
    made = Parsed(element("p", name, title=name))
    ((tag, attributes),) = made.elements
    assert (tag, list(attributes)) == ("p", ["title"])
    assert made.raw == {"script": [], "style": []}


def test_text_is_read_back_as_it_was() -> None:
    assert Parsed(element("p", HOSTILE)).words == HOSTILE
    assert Parsed(element("p", "x", title=HOSTILE)).elements == [("p", {"title": HOSTILE})]


def test_what_html_cannot_hold_is_spelt_out() -> None:
    assert text("a\x00b\udcff\x1b") == "a\\x00b\\udcff\\x1b"
    text("a\udcff").encode()


def test_markup_is_not_escaped_again_and_pieces_are() -> None:
    assert joined(element("b", "<"), "<", 3) == "<b>&lt;</b>&lt;3"
    assert element("p", Markup("<br>")) == "<p><br></p>"


def test_attributes_that_are_not_there_or_bare() -> None:
    made = element("video", controls=True, hidden=False, src=None, aria_label="a", class_="b")
    assert made == '<video controls aria-label="a" class="b"></video>'


@pytest.mark.parametrize("name", [HOSTILE, "]]>", "<!--<script>", "\u2028\u2029", "\udcff", "</SCRIPT >"])
def test_data_cannot_leave_its_element_and_comes_back(name: str) -> None:
    block = data_block("data", {name: [name, 0.5]})
    assert re.findall("[<>&]", block[len('<script type="application/json" id="data">') : -len("</script>")]) == []
    block.encode()
    made = Parsed(block)
    assert made.elements == [("script", {"type": "application/json", "id": "data"})]
    assert json.loads(made.raw["script"][0]) == {name: [name, 0.5]}


def test_the_policy_names_the_script_and_style_of_the_page_and_nothing_else() -> None:
    style, script = "p{color:red}", "let a = 1 < 2;"
    made = Parsed(page(HOSTILE, element("p", "x"), style=style, script=script, media="blob:"))
    (meta,) = made.of("meta", http_equiv="Content-Security-Policy")
    assert meta["content"] == policy(script, style, "blob:")
    rules = dict(rule.split(" ", 1) for rule in (meta["content"] or "").split("; "))
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(made.raw[kind][0].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["media-src"] == "blob:"
    assert "unsafe" not in (meta["content"] or "")
    assert made.elements.index(("meta", meta)) < [tag for tag, _ in made.elements].index("style")


def test_a_page_without_script_allows_none() -> None:
    assert "script-src 'none'" in policy("", "p{}")


@pytest.mark.parametrize(("style", "script"), [("</style>", ""), ("", "'</script>'"), ("", "'<!--'")])
def test_own_parts_that_would_end_early_are_refused(style: str, script: str) -> None:
    with pytest.raises(ValueError, match="before its end"):
        page("x", element("p"), style=style, script=script)
