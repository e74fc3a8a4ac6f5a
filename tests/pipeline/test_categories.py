"""The file of own categories: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from vadpipe.errors import UsageError
from vadpipe.pipeline.detecting.categories import (
    MOST_BYTES,
    MOST_CATEGORIES,
    MOST_PROMPTS,
    OwnCategory,
    check_categories,
    load_categories,
    same_name,
)

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "cats.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_names_and_prompts_are_read_in_the_files_order(tmp_path: Path) -> None:
    text = '[[category]]\nname = " street race "\nprompts = ["cars racing", " a race "]\n'
    text += '[[category]]\nname = "Überfall_火"\n'
    first, second = load_categories(written(tmp_path, "\ufeff" + text))
    assert first == OwnCategory("street race", ("cars racing", "a race"))
    assert first.texts == ("cars racing", "a race")
    assert (second.name, second.prompts, second.texts) == ("Überfall_火", (), ("Überfall 火",))


def test_the_example_file_is_read() -> None:
    path = ROOT / "configs" / "categories" / "example.toml"
    found = load_categories(path)
    assert len(found) >= 3
    assert all(category.prompts for category in found[:-1])
    assert f"--categories configs/categories/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got 0 categories, expected 1"),
        ("name = 3", r"unknown 'name'; expected \[\[category\]\]"),
        ('[category]\nname = "x"', "mind the double brackets"),
        ("category = [1]", "category 1: got 1, expected"),
        ('[[category]]\nnames = "x"', "category 1: unknown 'names'; known: name, prompts"),
        ("[[category]]\nname = 3", "category 1: name: got 3, expected a text"),
        ('[[category]]\nprompts = ["x"]', "category 1: name: got None"),
        ('[[category]]\nname = "x"\nprompts = "y"', "prompts: got 'y', expected a list"),
        ('[[category]]\nname = "x"\nprompts = ["y", 3]', "expected a list of texts"),
        ('[[category]]\nname = "x"\nprompts = ["y", " "]', "prompt of 'x': got '', expected a text that is not empty"),
        ('[[category]]\nname = "x"\nprompts = ["y", "y "]', "one is there twice"),
        ('[[category]]\nname = "  "', "category 1: name: got ''"),
        ('[[category]]\nname = "Normal"', "'Normal', which is reserved"),
        ('[[category]]\nname = "a|b"', "without '|'"),
        ('[[category]]\nname = "a\\u001b[2J"', "control or invisible"),
        ('[[category]]\nname = "a\\u202eb"', "control or invisible"),
        ('[[category]]\nname = "a"\nprompts = ["x\\ny"]', "prompt of 'a'.*line ends"),
        (f'[[category]]\nname = "{"a" * 101}"', "101 characters, expected at most 100"),
        (f'[[category]]\nname = "a"\nprompts = ["{"a" * 401}"]', "401 characters, expected at most 400"),
        ('[[category]]\nname = "a_b"\n[[category]]\nname = "A b"', "'a_b' and 'A b' are one name"),
        ('[[category]]\nname = "a', "not TOML in UTF-8"),
        (b'[[category]]\nname = "\xff"', "not TOML in UTF-8"),
        ("a = " + "[" * 3000, "not TOML in UTF-8"),
        ("#" * (MOST_BYTES + 1), f"over {MOST_BYTES} bytes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=said) as caught:
        load_categories(path)
    assert str(caught.value).startswith(f"categories file {path}")
    assert "\x1b" not in str(caught.value)


def test_too_many_are_refused(tmp_path: Path) -> None:
    many = "".join(f'[[category]]\nname = "c{index}"\n' for index in range(MOST_CATEGORIES + 1))
    with pytest.raises(UsageError, match="got 101 categories"):
        load_categories(written(tmp_path, many))
    assert len(load_categories(written(tmp_path, many.replace('[[category]]\nname = "c0"\n', "")))) == MOST_CATEGORIES
    with pytest.raises(UsageError, match=f"got {MOST_PROMPTS + 1}, expected at most"):
        OwnCategory("a", tuple(map(str, range(MOST_PROMPTS + 1))))
    with pytest.raises(UsageError, match="got 0"):
        check_categories([])


def test_folders_and_missing_files_are_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(UsageError, match="does not exist, or is no file"):
            load_categories(path)


def test_spellings_of_one_name() -> None:
    assert same_name("Car_Accident") == same_name("car accident") == "car accident"
    assert same_name("Straße") == same_name("STRASSE")
    assert same_name("fight") != same_name("fighting")
