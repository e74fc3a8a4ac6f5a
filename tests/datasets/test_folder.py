"""The user's own data: labels.csv, label folders, and the cut of a validation set."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from vadpipe.datasets.folder import labels_from_folders, read_labels, split_validation
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord


def labels_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- labels.csv


def test_labels_with_all_columns(tmp_path: Path) -> None:
    path = labels_file(
        tmp_path,
        "video,label,split,frames,fps\n"
        "b.mp4,fighting | riot,test,669,30000/1001\n"
        "a__label_B1-0-0,normal,train,,25\n"
        '"c, d #1.mkv",car accident,,0,\n',
    )
    assert read_labels(path) == [
        VideoRecord("b", frozenset({"fighting", "riot"}), (), "test", 669, Fraction(30000, 1001)),
        VideoRecord("a__label_B1-0-0", frozenset({"normal"}), (), "train", None, Fraction(25)),
        VideoRecord("c, d #1", frozenset({"car accident"}), (), "train", 0, None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "video,label\na,normal\nb,übergriff\n",
        "\ufeffvideo,label\na,normal\nb,übergriff\n",
        "video,label\r\na,normal\r\nb,übergriff\r\n",
        "\ufeffvideo,label\ra,normal\rb,übergriff",
        " Video , LABEL \na , Normal\n\nb,übergriff\n\n",
        "camera,label,note,video\n1,normal,,a\n2,übergriff,at night,b\n",
    ],
)
def test_the_same_labels_in_many_clothes(tmp_path: Path, text: str) -> None:
    assert read_labels(labels_file(tmp_path, text)) == [
        VideoRecord("a", frozenset({"normal"})),
        VideoRecord("b", frozenset({"übergriff"})),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no column video and label"),
        ("video;label\na;normal\n", 1, "parted by commas"),
        ("video,class\na,normal\n", 1, "no column label"),
        ("video,label,label\na,normal,normal\n", 1, "column 'label' is there 2 times"),
        ("video,label,splits\na,normal,test\n", 1, "'splits' looks like 'split'"),
        ("video,label,frame\na,normal,5\n", 1, "'frame' looks like 'frames'"),
        ("video,label\na,normal\nb\n", 3, "got 1 cells, expected 2"),
        ("video,label\na,normal,x\n", 2, "got 3 cells, expected 2"),
        ("video,label\na,\n", 2, "label: got ''"),
        ("video,label\na,fighting|\n", 2, "none of them empty"),
        ("video,label\na,normal|riot\n", 2, "cannot stand with others"),
        ("video,label\n,normal\n", 2, "video id"),
        ("video,label\n\n../..,normal\n", 3, "video id"),
        ("video,label\na,normal\na.mp4,riot\n", 3, "'a' is there twice"),
        ("video,label,split\na,normal,dev\n", 2, "split: got 'dev'"),
        ("video,label,frames\na,normal,many\n", 2, "frames: got 'many'"),
        ("video,label,frames\na,normal,-5\n", 2, "frames: got -5"),
        ("video,label,fps\na,normal,25 fps\n", 2, "fps: got '25 fps'"),
        ("video,label,fps\na,normal,0\n", 2, "fps: got 0"),
        ('video,label\n"a,normal\n', 2, "not a CSV line"),
        ("video,label\na,normal\nb,\xfcbergriff\n".encode("latin-1"), 3, "0xfc is not UTF-8"),
    ],
)
def test_labels_errors_name_file_and_line(tmp_path: Path, text: str | bytes, line: int, message: str) -> None:
    path = labels_file(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_labels_that_differ_only_in_case(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'Riot' and 'riot' differ only in case"):
        read_labels(labels_file(tmp_path, "video,label\na,riot\nb,Riot\n"))


def test_labels_without_a_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no video"):
        read_labels(labels_file(tmp_path, "video,label\n"))


def test_labels_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_labels(tmp_path / "labels.csv")


# --- folders


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folders_name_the_labels(tmp_path: Path) -> None:
    touch(tmp_path, "fighting/z.mp4", "fighting/b #1.MKV", "Normal/a.b.mp4", "car accident|riot/c.avi")
    touch(tmp_path, "fighting/notes.txt", "fighting/.hidden.mp4", ".cache/x.mp4", "labels.csv")
    (tmp_path / "empty").mkdir()
    assert labels_from_folders(tmp_path) == [
        VideoRecord("a.b", frozenset({"normal"})),
        VideoRecord("b #1", frozenset({"fighting"})),
        VideoRecord("c", frozenset({"car accident", "riot"})),
        VideoRecord("z", frozenset({"fighting"})),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.mp4",), "lies in no label folder"),
        (("riot/more/a.mp4",), "a folder inside a label folder"),
        (("riot/a.mp4", "normal/a.mkv"), "video 'a' is there twice"),
        (("riot/a.mp4", "Riot/b.mp4"), "differ only in case"),
        (("riot/a.txt",), "no video found"),
        (("riot|/a.mp4",), "none of them empty"),
    ],
)
def test_folders_refuse(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labels_from_folders(touch(tmp_path, *names))


def test_folders_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        labels_from_folders(tmp_path / "none")


# --- validation


def videos(**counts: int) -> list[VideoRecord]:
    """``normal=3`` -> normal0, normal1, normal2."""
    return [VideoRecord(f"{label}{n}", frozenset({label})) for label, count in counts.items() for n in range(count)]


def ids(records: list[VideoRecord]) -> list[str]:
    return [record.id for record in records]


def test_validation_takes_its_share_of_every_category() -> None:
    given = videos(normal=40, riot=10, fighting=20, theft=2, arson=1)
    train, val = split_validation(given)
    assert Counter(min(record.labels) for record in val) == {"normal": 8, "riot": 2, "fighting": 4, "theft": 1}
    assert {record.split for record in val} == {"val"}
    assert {record.split for record in train} == {"train"}
    assert sorted(ids(train) + ids(val)) == sorted(ids(given))
    assert ids(train) == [video for video in ids(given) if video not in ids(val)]


def test_validation_is_the_same_today_and_tomorrow() -> None:
    train, val = split_validation(videos(normal=5, riot=5))
    assert (len(train), ids(val)) == (8, ["normal2", "riot3"])
    assert ids(split_validation(videos(normal=5, riot=5), salt="other")[1]) != ["normal2", "riot3"]


def test_validation_does_not_depend_on_the_order() -> None:
    given = videos(normal=30, riot=15, fighting=7)
    shuffled = random.Random(1).sample(given, len(given))
    assert set(ids(split_validation(given)[1])) == set(ids(split_validation(shuffled)[1]))


def test_a_further_video_moves_at_most_one_other_of_its_category() -> None:
    given = videos(normal=30, riot=15, fighting=7)
    before = set(ids(split_validation(given)[1]))
    for number in range(30):
        new = VideoRecord(f"new{number}", frozenset({"riot"}))
        after = set(ids(split_validation([new, *given])[1])) - {new.id}
        assert len(before ^ after) <= 1
        assert {video for video in before ^ after if not video.startswith("riot")} == set()


def test_the_first_of_several_labels_is_the_stratum() -> None:
    given = videos(normal=2) + [VideoRecord(f"x{n}", frozenset({"riot", f"z{n}"})) for n in range(10)]
    assert Counter(record.is_anomalous for record in split_validation(given)[1]) == {True: 2, False: 1}


def test_a_small_set_has_both_kinds_in_both_parts() -> None:
    for given in (videos(normal=2, riot=2), videos(normal=2, riot=1, fighting=1, theft=1)):
        train, val = split_validation(given)
        assert sorted(record.is_anomalous for record in val) == [False, True]
        assert {record.is_anomalous for record in train} == {False, True}


@pytest.mark.parametrize("counts", [{"normal": 1, "riot": 9}, {"normal": 9, "riot": 1}, {"normal": 9}, {}])
def test_too_few_videos_for_a_validation_set(counts: dict[str, int]) -> None:
    with pytest.raises(DataError, match="at least 2 of each"):
        split_validation(videos(**counts))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 20.0])
def test_validation_share_is_a_share(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        split_validation(videos(normal=5, riot=5), share)


def test_test_videos_never_enter() -> None:
    given = [*videos(normal=5, riot=5), VideoRecord("t", frozenset({"riot"}), split="test")]
    with pytest.raises(DataError, match="'t' and 0 others are not training videos"):
        split_validation(given)


def test_validation_refuses_an_id_twice() -> None:
    with pytest.raises(DataError, match="twice"):
        split_validation([*videos(normal=5, riot=5), *videos(riot=1)])
