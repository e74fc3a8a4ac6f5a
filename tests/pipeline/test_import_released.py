"""Released features with their lists: exact names, crops, audio, what is missing, extra, twice or unusable."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extractors import painted_videos
from tests.refused_arrays import save_pickled
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord, read_manifest
from vadpipe.pipeline.importing.released import ReleasedRequest, ReleasedSummary, import_released
from vadpipe.pipeline.importing.released_files import scan
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

FIGHT = "v=S-7rRLrxnVQ__#1_label_B1-0-0"
CALM = "Bad.Boys.1995__#00-26-51_00-27-53_label_A"
BOTH = "Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6"


def feature(folder: Path, name: str, value: float = 0, rows: int = 3, columns: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, np.full((rows, columns), value, np.float16))


def crops(folder: Path, video: str, numbers: Sequence[int] = range(10), rows: int = 3) -> None:
    for crop in numbers:
        feature(folder, f"{video}__{crop}.npy", crop, rows)


def write_list(path: Path, rows: Sequence[str], columns: str = "path,label") -> str:
    path.write_text("\n".join([columns, *rows]) + "\n")
    return str(path)


def xd_list(path: Path, videos: Sequence[str], numbers: Sequence[int] = range(10)) -> str:
    rows = [f"/home/author/Desktop/X/{v}__{crop}.npy,{v.rpartition('_')[2]}" for v in videos for crop in numbers]
    return write_list(path, rows)


def load(
    folder: Path, dataset: str, lists: Sequence[str], **options: Any
) -> tuple[ReleasedSummary, FeatureStore, dict[str, VideoRecord]]:
    store = FeatureStore(folder / "features")
    request = ReleasedRequest(dataset, tuple(lists), folder / "root", **options)
    summary = import_released(request, store)
    return summary, store, {record.id: record for record in read_manifest(summary.manifest)}


def track(store: FeatureStore, summary: ReleasedSummary, video: str, stream: int = 0) -> FeatureTrack:
    return store.read(summary.streams[stream].spec, video)


def test_xd_violence_train_and_test_lists(tmp_path: Path) -> None:
    for video in (FIGHT, CALM):
        crops(tmp_path / "root" / "train", video)
    crops(tmp_path / "root" / "test" / "deep", BOTH, [0])
    lists = [
        xd_list(tmp_path / "xd_CLIP_rgb.csv", [FIGHT, CALM]),
        f"test={xd_list(tmp_path / 'xd_CLIP_rgbtest.csv', [BOTH], [0])}",
    ]
    summary, store, records = load(tmp_path, "xd_violence", lists)
    (part,) = summary.streams
    assert (part.done, part.failed, part.missing, summary.extra) == ([FIGHT, CALM, BOTH], {}, {}, [])
    assert part.spec.geometry == "released, crops 0"
    assert part.spec.decoder == "frames: as labelled, else rows, at 24 fps"
    assert list(records.values()) == [
        VideoRecord(FIGHT, frozenset({"fighting"}), fps=Fraction(24)),
        VideoRecord(CALM, frozenset({"normal"}), fps=Fraction(24)),
        VideoRecord(BOTH, frozenset({"explosion", "shooting", "car accident"}), split="test", fps=Fraction(24)),
    ]
    assert track(store, summary, BOTH).grid == TimeGrid(Fraction(24), 48)
    said = ["is taken as the training list", "3 of 3 videos: their true number", "18 files of further crops"]
    assert all(text in note for text, note in zip(said, summary.notes, strict=True))


def test_ucf_crime_takes_the_crop_that_its_test_list_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    crops(root / "Abuse", "Abuse001_x264")
    crops(root / "Testing_Normal_Videos_Anomaly", "Normal_Videos_003_x264", [5])
    home = "/home/author/Desktop/UCFClipFeatures"
    rows = [f"{home}/Abuse/Abuse001_x264__{crop}.npy,Abuse" for crop in range(10)]
    train = write_list(tmp_path / "train.csv", rows)
    test = write_list(tmp_path / "test.csv", [f"{home}/T/Normal_Videos_003_x264__5.npy,Normal"])
    summary, store, records = load(tmp_path, "ucf_crime", [f"train={train}", f"test={test}"])
    assert summary.streams[0].spec.geometry == "released, crops 0; test 5"
    assert track(store, summary, "Abuse001_x264").data[0, 0] == 0
    assert track(store, summary, "Normal_Videos_003_x264").data[0, 0] == 5
    assert records["Normal_Videos_003_x264"].labels == {"normal"}


def test_crops_are_an_axis_and_choices_never_mix(tmp_path: Path) -> None:
    crops(tmp_path / "root", FIGHT)
    crops(tmp_path / "root", BOTH)
    lists = [
        f"train={xd_list(tmp_path / 'a.csv', [FIGHT])}",
        f"test={xd_list(tmp_path / 'b.csv', [BOTH], [0])}",
    ]
    shapes = {}
    for train, test in (("all", "all"), ("0,5", "5"), ("5", "0"), ("first", "0,1,2"), ("5", "5")):
        summary, store, _ = load(tmp_path, "xd_violence", lists, crops=train, test_crops=test)
        data, tested = (track(store, summary, video).data for video in (FIGHT, BOTH))
        shapes[summary.streams[0].spec.geometry] = [data[..., 0, 0].tolist(), tested[..., 0, 0].tolist()]
    assert shapes == {
        "released, crops 0,1,2,3,4,5,6,7,8,9; test 0": [list(range(10)), 0],
        "released, crops 0,5; test 5": [[0, 5], 5],  # crop 5 is not listed, but its file is there
        "released, crops 5; test 0": [5, 0],
        "released, crops 0; test 0,1,2": [0, [0, 1, 2]],
        "released, crops 5": [5, 5],
    }
    assert len(store.specs()) == len(shapes)
    for wrong in ("10", "0-3", "", "some"):
        with pytest.raises(UsageError, match="crops: got"):
            load(tmp_path, "xd_violence", lists, crops=wrong)


def test_train_and_test_lists_may_be_imported_one_after_the_other(tmp_path: Path) -> None:
    crops(tmp_path / "root", FIGHT)
    crops(tmp_path / "root", BOTH)
    both = {"crops": "0,5", "test_crops": "5"}
    first, _, _ = load(tmp_path, "xd_violence", [f"train={xd_list(tmp_path / 'a.csv', [FIGHT])}"], **both)
    second, store, records = load(tmp_path, "xd_violence", [f"test={xd_list(tmp_path / 'b.csv', [BOTH], [0])}"], **both)
    assert first.streams[0].spec == second.streams[0].spec
    assert store.ids(first.streams[0].spec) == sorted([FIGHT, BOTH])
    assert {name: record.split for name, record in records.items()} == {FIGHT: "train", BOTH: "test"}


def test_names_match_whole_never_in_part(tmp_path: Path) -> None:
    listed = ["Fighting003_x264", "Fighting004_x264", "Fighting03_x264"]
    for name in ("Fighting003_x264__0", "xFighting004_x264__0", "Fighting004_x264_2__0", "Fighting004_x264", "ng03__0"):
        feature(tmp_path / "root", f"{name}.npy")
    test = write_list(tmp_path / "list.csv", [f"/a/{name}__0.npy,Fighting" for name in listed])
    summary, _, records = load(tmp_path, "ucf_crime", [f"train={test}"])
    (part,) = summary.streams
    assert part.done == ["Fighting003_x264"]
    assert part.missing == {name: f"{name}__0.npy" for name in listed[1:]}
    assert summary.extra == ["Fighting004_x264_2__0.npy", "ng03__0.npy", "xFighting004_x264__0.npy"]
    assert list(records) == listed  # what is listed without features is said again by train and evaluate


def test_files_that_are_there_twice_or_unusable_cost_their_video(tmp_path: Path) -> None:
    names = [f"v=a{number}#&.x__#1_label_A" for number in range(6)]
    root = tmp_path / "root"
    for name in names:
        crops(root / "a", name, [0, 1])
    feature(root / "b", f"{names[0]}__0.npy")
    feature(root / "a", f"{names[1]}__1.npy", rows=4)
    feature(root / "a", f"{names[2]}__1.npy", columns=5)
    feature(root / "a", f"{names[3]}__0.npy", np.inf)
    save_pickled(root / "a" / f"{names[4]}__1.npy", np.array([[{}]]))
    summary, store, _ = load(tmp_path, "xd_violence", [xd_list(tmp_path / "a.csv", names, [0, 1])], crops="all")
    (part,) = summary.streams
    assert part.done == names[5:]
    assert track(store, summary, names[5]).data.shape == (2, 3, 4)
    reasons = ["is there 2 times", "4 rows, but", "5 columns, expected 4", "NaN or infinity", "pickle"]
    assert list(part.failed) == names[:5]
    for text, reason in zip(part.failed.values(), reasons, strict=True):
        assert reason in text
    crops(root / "a", names[3], [0])  # mended: the next run needs only this one
    again, _, _ = load(tmp_path, "xd_violence", [xd_list(tmp_path / "a.csv", names, [0, 1])], crops="all")
    assert (again.streams[0].done, again.streams[0].kept) == ([names[3]], names[5:])


def audio_list(path: Path, videos: Sequence[str]) -> str:
    rows = [f"/home/a/XDTestClipFeatures/{v}__5.npy,/home/a/XDTestClapFeatures/{v}.npy,A" for v in videos]
    return f"test={write_list(path, rows, 'path,audio_path,label')}"


def test_audio_is_a_second_stream_on_the_grid_of_the_first(tmp_path: Path) -> None:
    videos = [f"v={number}__#1_label_A" for number in range(5)]
    for video, rows in zip(videos, (3, 4, 2, 5, 3), strict=True):
        crops(tmp_path / "root" / "clip", video, [5])
        feature(tmp_path / "root" / "clap", f"{video}.npy", rows, rows, columns=6)
    (tmp_path / "root" / "clap" / f"{videos[4]}.npy").unlink()
    lists = [audio_list(tmp_path / "rgbtest.csv", videos)]
    summary, store, _ = load(tmp_path, "xd_violence", lists, stream="clip-xd", audio_stream="wav2clip-xd")
    visual, audio = summary.streams
    assert (visual.done, visual.spec.dim, audio.spec.dim) == (videos, 4, 6)
    assert (audio.spec.stream, audio.spec.geometry) == ("wav2clip-xd", "released, audio")
    assert audio.done == videos[:3]
    assert "got 5 rows, expected 3" in audio.failed[videos[3]]
    assert audio.missing == {videos[4]: f"{videos[4]}.npy"}
    for video in videos[:3]:
        assert track(store, summary, video, 1).grid == track(store, summary, video).grid
    assert len(audio.notes) == 2
    with pytest.raises(UsageError, match="vadpipe's own"):
        load(tmp_path, "xd_violence", lists, audio_stream="wav2clip")


def test_audio_of_the_same_name_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    feature(tmp_path / "root" / "clip", f"{CALM}.npy", 1)
    feature(tmp_path / "root" / "clap", f"{CALM}.npy", 2)
    rows = [f"/a/clip/{CALM}.npy,/a/clap/{CALM}.npy,A"]
    lists = [write_list(tmp_path / "a.csv", rows, "path,audio_path,label")]
    with pytest.raises(DataError, match="is there 2 times"):
        load(tmp_path, "xd_violence", lists)
    options = {"audio_stream": "sound", "audio_root": tmp_path / "root" / "clap"}
    summary, store, _ = load(tmp_path, "xd_violence", lists, **options)
    assert [track(store, summary, CALM, stream).data[0, 0] for stream in (0, 1)] == [1, 2]


def test_without_a_name_for_the_audio_stream_it_is_left_out_and_said(tmp_path: Path) -> None:
    crops(tmp_path / "root", CALM, [5])
    summary, _, _ = load(tmp_path, "xd_violence", [audio_list(tmp_path / "a.csv", [CALM])])
    assert len(summary.streams) == 1
    assert any("--audio-stream" in note for note in summary.notes)
    with pytest.raises(UsageError, match="no list has a column audio_path"):
        load(tmp_path, "xd_violence", [xd_list(tmp_path / "b.csv", [CALM], [5])], audio_stream="sound")


def test_cctv_has_four_frames_a_row_and_no_rate_of_its_own(tmp_path: Path) -> None:
    video = "fight_0006_label_B1-0-0"
    crops(tmp_path / "root", video, [5], rows=100)
    lists = [f"test={xd_list(tmp_path / 'cctv.csv', [video], [5])}"]
    with pytest.raises(UsageError, match="pass --fps"):
        load(tmp_path, "cctv_fights", lists)
    spans = tmp_path / "annotations_cctv.txt"
    spans.write_text(f"{video} 1 43 161 390\n")
    summary, store, records = load(tmp_path, "cctv_fights", lists, fps=Fraction(30), annotations=spans)
    assert track(store, summary, video).grid == TimeGrid(Fraction(30), 400, 4)
    assert [(span.category, span.start_frame, span.end_frame) for span in records[video].intervals] == [
        ("fighting", 1, 43),
        ("fighting", 161, 390),
    ]


def test_known_lengths_are_checked_and_used(tmp_path: Path) -> None:
    videos = [f"v={number}__#1_label_A" for number in range(4)]
    for video in videos:
        crops(tmp_path / "root", video, [0])
    known = (
        VideoRecord(videos[0], frozenset({"normal"}), num_frames=41, fps=Fraction(25)),
        VideoRecord(videos[1], frozenset({"normal"}), num_frames=60),
        VideoRecord(videos[2], frozenset({"normal"}), num_frames=400),
    )
    summary, store, records = load(tmp_path, "xd_violence", [xd_list(tmp_path / "a.csv", videos, [0])], lengths=known)
    (part,) = summary.streams
    assert part.done == [videos[0], videos[1], videos[3]]
    assert "got 3 rows, expected 25" in part.failed[videos[2]]
    grids = [track(store, summary, video).grid for video in part.done]
    assert grids == [TimeGrid(Fraction(25), 41), TimeGrid(Fraction(24), 60), TimeGrid(Fraction(24), 48)]
    assert [records[video].num_frames for video in videos] == [41, 60, 400, None]
    assert part.notes == [f"{videos[1]}: 3 rows for 4 snippets, last row adjusted"]
    assert any(note.startswith("1 of 4 videos") for note in summary.notes)


def test_annotations_enter_the_manifest_and_survive_a_rerun_without(tmp_path: Path) -> None:
    crops(tmp_path / "root", FIGHT, [0])
    crops(tmp_path / "root", BOTH, [0])
    lists = [f"train={xd_list(tmp_path / 'a.csv', [FIGHT])}", f"test={xd_list(tmp_path / 'b.csv', [BOTH], [0])}"]
    spans = tmp_path / "annotations_multiclasses.txt"
    spans.write_text(f"{BOTH} B2 0 16 G 20 999\n")
    summary, _, records = load(tmp_path, "xd_violence", lists, annotations=spans)
    assert [(i.category, i.end_frame) for i in records[BOTH].intervals] == [("shooting", 16), ("explosion", 48)]
    assert any("ran past the last frame" in note for note in summary.notes)
    _, _, again = load(tmp_path, "xd_violence", lists)
    assert again == records


def test_an_array_of_truth_follows_the_test_list(tmp_path: Path) -> None:
    videos = [FIGHT, CALM, "v=b__#1_label_G-0-0"]
    for video in videos:
        crops(tmp_path / "root", video, [0])
    truth = np.zeros(3 * 48)
    truth[[5, 6, 100]] = 1
    np.save(tmp_path / "gt.npy", truth)
    lists = [f"test={xd_list(tmp_path / 'a.csv', videos, [0])}"]
    _, _, records = load(tmp_path, "xd_violence", lists, annotations=tmp_path / "gt.npy")
    spans = [[(i.category, i.start_frame, i.end_frame) for i in records[video].intervals] for video in videos]
    assert spans == [[("fighting", 5, 7)], [], [("explosion", 4, 5)]]


def test_a_fault_in_the_annotations_leaves_the_rest_done(tmp_path: Path) -> None:
    crops(tmp_path / "root", FIGHT, [0])
    (tmp_path / "spans.txt").write_text(f"{FIGHT} 9 3\n")
    lists = [f"test={xd_list(tmp_path / 'a.csv', [FIGHT], [0])}"]
    with pytest.raises(DataError, match=r"spans\.txt:1"):
        load(tmp_path, "xd_violence", lists, annotations=tmp_path / "spans.txt")
    summary, _, records = load(tmp_path, "xd_violence", lists)
    assert (summary.streams[0].kept, list(records)) == ([FIGHT], [FIGHT])


def test_a_wrong_request_says_what_is_wrong(tmp_path: Path) -> None:
    crops(tmp_path / "root", FIGHT, [0])
    train, test = xd_list(tmp_path / "a.csv", [FIGHT]), xd_list(tmp_path / "rgbtest.csv", [FIGHT], [0])
    videos = tmp_path / "videos.txt"
    videos.write_text(f"{FIGHT}.mp4\n")
    for lists, kind, message in (
        ([test], UsageError, "its name says test"),
        ([train, f"test={test}"], DataError, "is there twice"),
        ([f"train={videos}"], DataError, "names no feature files"),
        ([f"train={xd_list(tmp_path / 'c.csv', [CALM])}"], DataError, f"none of the 1 listed .* {CALM}__0.npy"),
        ([f"later={train}"], UsageError, "later="),
    ):
        with pytest.raises(kind, match=message):
            load(tmp_path, "xd_violence", lists)
    with pytest.raises(UsageError, match="data set: got"):
        load(tmp_path, "xd", [train])
    load(tmp_path, "xd_violence", [train])
    crops(tmp_path / "root", "Arson001_x264", [0])
    arson = write_list(tmp_path / "ucf.csv", ["/a/Arson001_x264__0.npy,Arson"])
    with pytest.raises(UsageError, match="give another --out"):
        load(tmp_path, "ucf_crime", [arson])


def test_the_scan_follows_links_but_no_circles(tmp_path: Path) -> None:
    feature(tmp_path / "elsewhere", "a__0.npy")
    root = tmp_path / "root"
    feature(root / "deep" / "er", "b.NPY.npy")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "deep" / "circle").symlink_to(root)
    (root / "notes.txt").write_text("no features")
    assert {name: len(paths) for name, paths in scan(root).items()} == {"a__0.npy": 1, "b.NPY.npy": 1}
    assert list(scan(root, skip=tmp_path / "elsewhere")) == ["b.NPY.npy"]
    with pytest.raises(UsageError, match="not a folder"):
        scan(tmp_path / "nowhere")


def test_the_files_of_the_videos_go_before_all_other_lengths(tmp_path: Path) -> None:
    for video, rows in ((FIGHT, 3), (CALM, 9), (BOTH, 3)):
        crops(tmp_path / "root", video, [0], rows)
    files = {video: painted_videos.write(tmp_path / f"{video}.mp4", 40, Fraction(30)) for video in (FIGHT, CALM)}
    labelled = (VideoRecord(FIGHT, frozenset({"fighting"}), num_frames=41, fps=Fraction(24)),)
    lists = [xd_list(tmp_path / "l.csv", [FIGHT, CALM, BOTH], [0])]
    summary, store, records = load(tmp_path, "xd_violence", lists, videos=files, lengths=labelled)
    (part,) = summary.streams
    assert part.done == [FIGHT, BOTH]
    assert "got 9 rows, expected 3" in part.failed[CALM]
    assert track(store, summary, FIGHT).grid == TimeGrid(Fraction(30), 40)
    assert (records[FIGHT].num_frames, records[FIGHT].fps) == (40, Fraction(30))
    assert track(store, summary, BOTH).grid == TimeGrid(Fraction(24), 48)
    assert any("the labels say 41 frames, the video has 40" in note for note in summary.notes)
    assert any("1 of 3 videos: their true number of frames is not known" in note for note in summary.notes)


def test_a_video_of_a_varying_rate_gives_its_times_to_both_streams(tmp_path: Path) -> None:
    video = f"{FIGHT}.mkv"
    painted_videos.write(tmp_path / video, 40, pts=[*range(0, 640, 40), *range(2000, 2960, 40)])
    feature(tmp_path / "root", f"{FIGHT}__0.npy")
    feature(tmp_path / "root", f"{FIGHT}__vggish.npy")
    rows = [f"/a/{FIGHT}__0.npy,/a/{FIGHT}__vggish.npy,B1-0-0"]
    lists = [f"train={write_list(tmp_path / 'a.csv', rows, 'path,audio_path,label')}"]
    summary, store, _ = load(tmp_path, "xd_violence", lists, videos={FIGHT: tmp_path / video}, audio_stream="heard")
    for stream in (0, 1):
        assert track(store, summary, FIGHT, stream).grid.boundaries_s[:3] == pytest.approx((0, 2, 2.64), abs=0.002)
