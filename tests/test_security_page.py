"""docs/security.md promises nothing that no test holds: every test and module that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_exist() -> None:
    rows = [
        line for line in PAGE.partition("## What is promised")[2].partition("\n## ")[0].split("\n") if line[:2] == "| "
    ]
    assert len(rows) > 20
    for row in rows[2:]:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+)(?:::(\w+))?)?`", row.split("|")[-2])
        assert named, row
        for path, *names in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert all(re.search(rf"(def|class) {name}\b", source) for name in names if name), row


def test_every_module_that_is_named_exists() -> None:
    named = re.findall(r"`(?:vadpipe/)?((?:\w+/)*\w+\.py)`", PAGE)
    assert len(named) > 3
    for path in named:
        assert (ROOT / "vadpipe" / path).is_file() or (ROOT / path).is_file(), path
