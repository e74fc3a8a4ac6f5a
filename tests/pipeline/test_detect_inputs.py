"""What detect is pointed at: files, folders, patterns; videos by content; a name of its own for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.detecting.inputs import find_inputs, shared_ids
from vadpipe.pipeline.videos import find_videos

MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(20)
MKV = b"\x1a\x45\xdf\xa3" + bytes(20)


def put(folder: Path, *names: str, content: bytes = MP4) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


def test_a_folder_is_searched_by_suffix_and_by_content(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "deep/b", "c.MOV", "record.dav", "clip.bin")
    put(tmp_path, "d.xyz", content=MKV)
    put(tmp_path, "text.mp4", "notes.txt", "frames.h5", content=b"no video")
    put(tmp_path, ".hidden.mp4", "._a.mp4", ".cache/e.mp4")
    (tmp_path / "folder.mp4").mkdir()
    found = find_inputs([tmp_path])
    assert sorted(found) == ["a", "b", "c", "clip.bin", "d.xyz", "record.dav", "text"]


def test_a_named_file_is_taken_whatever_it_holds(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "x.txt", content=b"text")
    assert find_inputs([path]) == {"x.txt": path}


def test_patterns_are_expanded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cam/a.mp4", "cam/b.mp4", "cam/deep/c.mp4", "cam/[1].mp4", "cam/1.mp4")
    put(tmp_path, "cam/list.txt", content=b"text")
    monkeypatch.chdir(tmp_path)
    assert list(find_inputs([Path("cam/?.mp4")])) == ["1", "a", "b"]
    assert list(find_inputs([Path("cam/*")])) == ["1", "[1]", "a", "b", "c"]
    assert list(find_inputs([Path("cam/**/*.mp4")])) == ["1", "[1]", "a", "b", "c"]
    assert find_inputs([Path("cam/[1].mp4")]) == {"[1]": Path("cam/[1].mp4")}  # a file of that very name
    assert list(find_inputs([Path("**")])) == ["1", "[1]", "a", "b", "c"]
    assert list(find_inputs([Path("cam/*.txt")])) == ["list.txt"]  # nothing else matches: it was asked for
    with pytest.raises(UsageError, match="matches no file"):
        find_inputs([Path("cam/*.avi")])
    with pytest.raises(UsageError, match=r"cam/none\.mp4 does not exist"):
        find_inputs([Path("cam/none.mp4")])


def test_a_place_without_videos_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no video"):
        find_inputs([tmp_path])


def test_one_file_is_looked_at_once(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a.mp4")
    (tmp_path / "link.mp4").symlink_to(path)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "a.mp4").symlink_to(path)
    assert list(find_inputs([path, tmp_path, tmp_path / "." / "a.mp4"])) == ["a", "link"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cam1/a.mp4", "cam2/a.mp4"], ["cam1_a", "cam2_a"]),
        (["a.mp4", "cam/a.mp4"], ["a", "cam_a"]),
        (["x/1/a.mp4", "y/1/a.mp4"], ["x_1_a", "y_1_a"]),
        (["a.mkv", "a.mp4"], ["a.mkv", "a.mp4"]),
        (["c/a.mkv", "c/a.mp4", "d/a.mp4"], ["c_a.mkv", "c_a.mp4", "d_a"]),
        (["cam_a.mp4", "x/cam/a.mp4", "x/a.mp4"], ["cam_a", "a-1", "a-2"]),
    ],
)
def test_videos_of_one_stem_get_names_of_their_own(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    paths = put(tmp_path, *names)
    found = find_inputs(paths)
    assert [found[name] for name in expected if name in found] == paths
    assert len(set(found)) == len(paths)
    shared = shared_ids(found)
    assert sorted(path for many in shared.values() for path in many) == sorted(
        path for path in paths if path.stem == "a"
    )


def test_odd_names_are_safe(tmp_path: Path) -> None:
    odd = ["<script>alert(1)<_script>.mp4", "-rf.mp4", "--out.mp4", "a b&c;d$(e).mp4", "日本語 🎥.mp4", "[red]x.mp4"]
    put(tmp_path, *odd, "new\nline.mp4", "bell\x1b[31m.mp4")
    refused: dict[str, str] = {}
    found = find_inputs([tmp_path], refused)
    assert sorted(found) == sorted(name.removesuffix(".mp4") for name in odd)
    assert len(refused) == 2
    assert all("rename the file" in reason for reason in refused.values())
    with pytest.raises(DataError, match="rename the file"):
        find_inputs([tmp_path])


def test_a_dangling_link_is_reported_later_like_any_bad_video(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    assert list(find_inputs([tmp_path])) == list(find_inputs([tmp_path / "gone.mp4"])) == ["gone"]


def test_patterns_follow_no_links_to_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cam/a.mp4", "cam/deep/b.mp4", "cam/.hidden/c.mp4")
    put(tmp_path, "cam/notes/list.txt", content=b"text")
    for name in ("one", "two"):  # both lead back: followed, there are 2 ** 40 ways through them
        (tmp_path / "cam" / name).symlink_to(tmp_path / "cam")
    monkeypatch.chdir(tmp_path)
    for pattern in ("**", "cam/**", "**/*", "**/*.mp4", "**/**/*.mp4", "cam/**/*", f"{tmp_path}/**/*.mp4"):
        assert list(find_inputs([Path(pattern)])) == ["a", "b"], pattern
    assert list(find_inputs([Path("**/deep/*.mp4")])) == ["b"]
    assert list(find_inputs([Path("cam/**/deep/**")])) == ["b"]
    assert list(find_inputs([Path("c*/[dn]*")])) == ["b"]  # a folder without videos is passed over
    with pytest.raises(UsageError, match="only folders that hold no video"):
        find_inputs([Path("cam/n*")])


def test_what_an_earlier_run_wrote_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cams/a.mp4", "cams/deep/b.mp4", "cams/clips/a_01_riot_1.0-2.0.mp4", "cams/drawn.mp4")
    monkeypatch.chdir(tmp_path)
    outputs = [Path("cams/clips"), Path("cams/deep/../drawn.mp4")]
    for place in (Path("cams"), tmp_path / "cams", Path("cams/**"), Path("c*"), Path("cams/*"), Path("**/*.mp4")):
        assert list(find_inputs([place], outputs=outputs)) == ["a", "b"], place
    named = find_inputs([Path("cams/clips/a_01_riot_1.0-2.0.mp4"), Path("cams/a.mp4")], outputs=outputs)
    assert list(named) == ["a_01_riot_1.0-2.0", "a"]  # named outright
    assert list(find_inputs([Path("cams/clips")], outputs=outputs)) == ["a_01_riot_1.0-2.0"]
    assert list(find_inputs([Path("cams/clips/*.mp4")], outputs=outputs)) == ["a_01_riot_1.0-2.0"]
    with pytest.raises(UsageError, match="holds no video"):
        find_inputs([Path("cams")], outputs=[*outputs, Path("cams/a.mp4"), Path("cams/deep")])


def test_sound_pictures_and_programs_in_a_folder_are_no_videos(tmp_path: Path) -> None:
    packets = (b"\x47" + bytes(187)) * 6
    put(tmp_path, "a.m4a", "b.heic", "c.avif", "d.m4v")
    put(tmp_path, "e.mka", "f.weba", content=MKV)
    put(tmp_path, "g.wma", content=bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))
    put(tmp_path, "main.ts", content=b"export const answer = 42;\n" * 100)
    put(tmp_path, "camera.ts", content=packets)
    put(tmp_path, "midway.ts", content=packets[70:])
    assert sorted(find_inputs([tmp_path])) == ["camera", "d", "midway"]
    assert list(find_inputs([tmp_path / "e.mka"])) == ["e.mka"]


@pytest.mark.parametrize("name", ["x" * 300, "x\0y", "*" + "x" * 5000])
def test_what_the_system_refuses_to_look_at_is_said(tmp_path: Path, name: str) -> None:
    for find in (find_inputs, find_videos):
        with pytest.raises(UsageError) as error:
            find([tmp_path / name])
        assert len(str(error.value)) < 6000


def test_a_closed_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **_options: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", closed)
    monkeypatch.setattr(Path, "is_dir", closed)
    for find in (find_inputs, find_videos):
        with pytest.raises(UsageError, match=r"the system refuses to look \(Permission denied\)"):
            find([tmp_path / "a.mp4"])


def test_many_files_of_one_name_are_compared_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        tmp_path,
        *(f"{number}/video.mp4" for number in range(60)),
        *(f"{number}/x{number // 2}.mp4" for number in range(60)),
    )
    resolve, asked = Path.resolve, 0

    def counted(path: Path, strict: bool = False) -> Path:
        nonlocal asked
        asked += 1
        return resolve(path, strict)

    monkeypatch.setattr(Path, "resolve", counted)
    found = find_inputs([tmp_path])
    assert len(found) == 120
    assert asked <= 2 * len(found)
    assert len(shared_ids(found)) == 31
