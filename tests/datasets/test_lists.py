"""Lists: every released one in full, each way to write one, and what is wrong is said with file and line."""

from __future__ import annotations

import gzip
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.real import CCTV, UCF, XD
from vadpipe.datasets import DATASETS
from vadpipe.datasets.lists import ListedVideo, list_lengths, read_list
from vadpipe.errors import DataError, UsageError

BOYS = "Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6"


def write(folder: Path, text: str | bytes, name: str = "a.list") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labels(videos: list[ListedVideo]) -> dict[str, set[str]]:
    return {video.record.id: set(video.record.labels) for video in videos}


# --- released lists


@pytest.mark.parametrize(
    ("path", "dataset", "videos", "normal", "crops"),
    [
        (XD / "xd_CLIP_rgb.csv.gz", "xd_violence", 3954, 2049, 10),
        (XD / "xd_CLIP_rgbtest.csv.gz", "xd_violence", 800, 300, 1),
        (XD / "avadclip_xd_CLIP_rgbtest.csv.gz", "xd_violence", 800, 300, 1),
        (XD / "i3d_test.list.gz", "xd_violence", 800, 300, 5),
        (XD / "annotations.txt.gz", "xd_violence", 500, 0, 0),
        (XD / "annotations_multiclasses.txt.gz", "xd_violence", 500, 0, 0),
        (UCF / "ucf_CLIP_rgb.csv.gz", "ucf_crime", 1610, 800, 10),
        (UCF / "ucf_CLIP_rgbtest.csv.gz", "ucf_crime", 290, 150, 1),
        (UCF / "i3d_test.list.gz", "ucf_crime", 290, 150, 10),
        (UCF / "Anomaly_Train.txt.gz", "ucf_crime", 1610, 800, 0),
        (UCF / "Anomaly_Test.txt.gz", "ucf_crime", 290, 150, 0),
        (UCF / "Temporal_Anomaly_Annotation.txt.gz", "ucf_crime", 290, 150, 0),
        (UCF / "urdmu_UCF_Annotation.txt.gz", "ucf_crime", 290, 150, 0),
        (CCTV / "annotations_cctv.txt", "cctv_fights", 157, 0, 0),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_a_released_list(path: Path, dataset: str, videos: int, normal: int, crops: int) -> None:
    found = read_list(path, dataset, "val")
    assert len(found) == videos
    assert sum(not video.record.is_anomalous for video in found) == normal
    assert Counter(len(video.files) for video in found) == {crops: videos}
    assert {video.record.split for video in found} == {"val"}
    assert {video.record.fps for video in found} == {DATASETS[dataset].fps}
    used = {label for video in found for label in video.record.labels}
    assert used <= set(DATASETS[dataset].classes)
    assert len(used) == len(DATASETS[dataset].classes) - (normal == 0)
    assert list(list_lengths(path)) == [video.record.id for video in found]


def test_the_official_counts_are_those_of_the_lists() -> None:
    for name, train, test in (
        ("xd_violence", XD / "xd_CLIP_rgb.csv.gz", XD / "xd_CLIP_rgbtest.csv.gz"),
        ("ucf_crime", UCF / "Anomaly_Train.txt.gz", UCF / "Anomaly_Test.txt.gz"),
    ):
        both = {split: labels(read_list(path, name)) for split, path in (("train", train), ("test", test))}
        assert {split: len(videos) for split, videos in both.items()} == DATASETS[name].counts
        assert not both["train"].keys() & both["test"].keys()
        assert DATASETS[name].known_bad.keys() <= both["train"].keys() | both["test"].keys()
    assert len(read_list(CCTV / "annotations_cctv.txt", "cctv_fights")) == DATASETS["cctv_fights"].counts["test"]


def test_lists_of_one_data_set_agree_on_labels() -> None:
    for dataset, paths in (
        (
            "xd_violence",
            (XD / "xd_CLIP_rgbtest.csv.gz", XD / "avadclip_xd_CLIP_rgbtest.csv.gz", XD / "i3d_test.list.gz"),
        ),
        (
            "ucf_crime",
            (UCF / "ucf_CLIP_rgbtest.csv.gz", UCF / "Anomaly_Test.txt.gz", UCF / "urdmu_UCF_Annotation.txt.gz"),
        ),
    ):
        first, *others = (labels(read_list(path, dataset)) for path in paths)
        assert all(other == first for other in others)
    assert labels(read_list(UCF / "ucf_CLIP_rgb.csv.gz", "ucf_crime")) == labels(
        read_list(UCF / "Anomaly_Train.txt.gz", "ucf_crime")
    )


def test_orders_of_one_test_set_differ() -> None:
    orders = [
        list(list_lengths(UCF / name))
        for name in ("ucf_CLIP_rgbtest.csv.gz", "Anomaly_Test.txt.gz", "urdmu_UCF_Annotation.txt.gz")
    ]
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) == 1


def test_what_a_released_row_becomes() -> None:
    first = read_list(XD / "avadclip_xd_CLIP_rgbtest.csv.gz", "xd_violence", "test")[0]
    assert first.record.id == BOYS
    assert first.record.labels == {"explosion", "shooting", "car accident"}
    assert (first.record.split, first.record.fps, first.record.num_frames) == ("test", Fraction(24), None)
    assert first.files == (f"{BOYS}__5.npy",)
    assert first.audio_file == f"{BOYS}.npy"
    ucf = read_list(UCF / "i3d_test.list.gz", "ucf_crime")[0]
    assert ucf.files == ("Abuse028_x264.npy", *(f"Abuse028_x264__{crop}.npy" for crop in range(1, 10)))
    timed = read_list(UCF / "urdmu_UCF_Annotation.txt.gz", "ucf_crime")[0].record
    assert (timed.id, timed.num_frames, timed.fps) == ("Arson022_x264", 8640, Fraction(30))


# --- ways to write a list


def test_crops_are_ordered_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "label,path\nA,/x/a_label_A__9.npy\nA,b_label_A__0.npy\n\nA,/y/a_label_A__2.npy\n")
    found = read_list(path, "xd_violence")
    assert [video.files for video in found] == [("a_label_A__2.npy", "a_label_A__9.npy"), ("b_label_A__0.npy",)]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfpath,label\r\nx/a.npy,Abuse\r\n",
        b"Path, Label\rx/a.npy, abuse\r",
        b'"path","label"\n"x/a.npy","Abuse"\n',
        gzip.compress(b"path,label\nx/a.npy,Abuse"),
    ],
)
def test_bytes_around_the_text_do_not_matter(tmp_path: Path, raw: bytes) -> None:
    found = read_list(write(tmp_path, raw), "ucf_crime")
    assert [(video.record.id, *video.record.labels, video.files) for video in found] == [("a", "Abuse", ("a.npy",))]


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("v=-a#1&b=c_label_B6-0-0", "xd_violence", {"car accident"}),
        ("x_label_B1", "xd_violence", {"fighting"}),
        ("x_label_B4-B1-G", "xd_violence", {"riot", "fighting", "explosion"}),
        ("x_label_A_label_G-0-0", "xd_violence", {"explosion"}),
        ("Normal_Videos_003_x264", "ucf_crime", {"normal"}),
        ("Normal_Videos003_x264", "ucf_crime", {"normal"}),
        ("RoadAccidents001_x264", "ucf_crime", {"RoadAccidents"}),
        ("fight_0006_label_A", "cctv_fights", {"normal"}),
        ("A.Über =#_label_B2-0-0", "xd_violence", {"shooting"}),
        ("n" * 300 + "_label_A", "xd_violence", {"normal"}),
    ],
)
def test_labels_of_names(tmp_path: Path, name: str, dataset: str, expected: set[str]) -> None:
    assert labels(read_list(write(tmp_path, f"/home/me/f/{name}.npy\n"), dataset)) == {name: expected}


def test_own_lists_have_labels_in_a_column_or_as_folders(tmp_path: Path) -> None:
    by_column = write(tmp_path, "path,label\nx/a b.npy,theft | riot\nx/b.npy,Normal\n")
    assert labels(read_list(by_column, "folder")) == {"a b": {"theft", "riot"}, "b": {"normal"}}
    by_folder = write(tmp_path, "theft/a b.mp4\nnormal/b.mp4\n")
    assert labels(read_list(by_folder, "folder")) == {"a b": {"theft"}, "b": {"normal"}}
    by_span = write(tmp_path, "a 900 car accident 1 2 theft 3 4\nb normal -1 -1\n")
    assert labels(read_list(by_span, "folder")) == {"a": {"car accident", "theft"}, "b": {"normal"}}
    assert list_lengths(by_span) == {"a": 900, "b": None}


def test_bare_ids_are_a_list(tmp_path: Path) -> None:
    found = read_list(write(tmp_path, f"{BOYS}\nx_label_A\n"), "xd_violence")
    assert [video.record.id for video in found] == [BOYS, "x_label_A"]


# --- what is wrong


@pytest.mark.parametrize(
    ("text", "dataset", "message"),
    [
        ("path,labels\na,A\n", "xd_violence", r":1: columns: got path,labels, expected path,label"),
        ("path,path,label\na,a,A\n", "xd_violence", ":1: columns"),
        ("path,label,note\na,A,x\n", "xd_violence", ":1: columns"),
        ("path;label\na.npy;A\n", "xd_violence", ":1: got 'path;label', expected one path a line"),
        ("path\tlabel\na_label_A.npy\tA\n", "xd_violence", ":1: video 'path': its name has no label"),
        ("path,label\n\nx_label_A.npy\n", "xd_violence", ":3: got 1 cells, expected 2"),
        ("path,label\nx_label_A.npy,A,A\n", "xd_violence", ":2: got 3 cells, expected 2"),
        ("path,label\n,A\n", "xd_violence", ":2: an empty cell"),
        ("path,label\nx_label_A.npy,\n", "xd_violence", ":2: an empty cell"),
        ('path,label\n"x_label_A.npy,A\n', "xd_violence", r":2: not a CSV line"),
        ("path,label\nx_label_A.npy,B1-0-0\n", "xd_violence", r":2: .*column says 'B1-0-0', the name \['normal'\]"),
        (
            "path,label\nx.npy,B3\n",
            "xd_violence",
            r":2: label: got 'B3', expected codes or classes of xd_violence: A, B1",
        ),
        ("path,label\nx.npy,0-0-0\n", "xd_violence", ":2: label: got '0-0-0'"),
        ("path,label\nx.npy,A-B1\n", "xd_violence", "'normal' cannot stand with others"),
        ("path,label\na__0.npy,A\na__1.npy,G\n", "xd_violence", r":3: video 'a': labels \['explosion'\] here"),
        ("path,label\na__0.npy,A\nx/a__0.npy,A\n", "xd_violence", ":3: video 'a' is there twice, with crop 0"),
        ("path,label\na.npy,A\na__0.npy,A\n", "xd_violence", ":3: video 'a' is there twice, with crop 0"),
        ("path,label\na.mp4,A\na__1.npy,A\n", "xd_violence", ":3: video 'a' is there twice"),
        ("x_label_A.mp4\ny/x_label_A.mkv\n", "xd_violence", ":2: video 'x_label_A' is there twice"),
        (
            "path,audio_path,label\na.npy,b.npy,A\n",
            "xd_violence",
            ":2: video 'a': audio file 'b.npy' is another video's",
        ),
        (
            "path,audio_path,label\na1.npy,a12.npy,A\n",
            "xd_violence",
            ":2: video 'a1': audio file 'a12.npy' is another video's",
        ),
        ("path,audio_path,label\na__0.npy,a.npy,A\na__1.npy,a__v.npy,A\n", "xd_violence", ":3: .*earlier row"),
        ("x_label_B3.npy\n", "xd_violence", ":1: label: got 'B3'"),
        ("A.Beautiful.Mind.npy\n", "xd_violence", ":1: video 'A.Beautiful.Mind': its name has no label of xd"),
        ("Theft001_x264.mp4\n", "ucf_crime", ":1: video 'Theft001_x264': its name has no label of ucf_crime"),
        ("x.npy\n", "folder", ":1: video 'x' has no label"),
        ("path,label\nx.npy,theft|\n", "folder", ":2: label: got 'theft|'"),
        ("x_label_A -5 A 1 2\n", "xd_violence", ":1: frames: got -5"),
        ("..\n", "xd_violence", r":1: video id: got '\.\.'"),
        ("../..\n", "xd_violence", r":1: video id: got '\.\.'"),
        ("x/\n", "xd_violence", ":1: video id: got ''"),
        ("a\0_label_A.npy\n", "xd_violence", r":1: video id: .*holds '\\x00'"),
        ("a\\b_label_A.npy\n", "xd_violence", ":1: video id"),
        ("a" * 1001 + "_label_A.npy\n", "xd_violence", ":1: video id: got 1009 characters"),
        ("path,label\n", "xd_violence", "holds no video"),
        ("\n \n", "xd_violence", "holds no video"),
    ],
)
def test_a_bad_list_is_named(tmp_path: Path, text: str, dataset: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_list(write(tmp_path, text), dataset)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("path,label\nÜ_label_A.npy,A\n".encode("latin-1"), ":2: byte 0xdc is not UTF-8"),
        (gzip.compress(b"path,label\nx_label_A.npy,A\n")[:-9], "cannot be unpacked"),
        (gzip.compress(b"path,label\n")[:4] + b"x" * 30, "cannot be unpacked"),
        (gzip.compress(b"\0" * (257 << 20), 1), "unpacks to more than 256 MiB"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_list(write(tmp_path, raw), "xd_violence")


@pytest.mark.parametrize(
    "text", ["x" * 200_000, "a,b|" * 20_000, "path," + "b" * 100_000, "a " + "9" * 5000 + " Theft"]
)
def test_a_very_long_line_is_named_but_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.list").write_text(text + "\n")
    with pytest.raises(DataError) as caught:
        read_list(tmp_path / "x.list", "xd_violence")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_wrong_request(tmp_path: Path) -> None:
    path = write(tmp_path, "x_label_A\n")
    with pytest.raises(UsageError, match="data set: got 'xd'"):
        read_list(path, "xd")
    with pytest.raises(UsageError, match="split: got 'all'"):
        read_list(path, "xd_violence", "all")
    with pytest.raises(UsageError, match="No such file"):
        read_list(tmp_path / "none", "xd_violence")


# --- anything at all

WORDS = st.sampled_from(
    ["path,label", "a_label_A", "a_label_B1-0-0__3.npy", "x/b.npy", ",A", ",", '"', " ", "\t", "\n", "\r\n", "\0", "..",
     "-1", "5", "99999999999999999999", "B1", "normal", "\ufeff", "é", "/", "\\", "#", "=", ";"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=14).map("".join) | st.text(max_size=60), st.sampled_from(list(DATASETS)))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str, dataset: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.list"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        videos = read_list(path, dataset)
    except DataError:
        return
    assert len({video.record.id for video in videos}) == len(videos) > 0
    assert all(len({*video.files}) == len(video.files) for video in videos)
