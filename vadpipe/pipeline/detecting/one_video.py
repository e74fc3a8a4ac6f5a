"""Whether the features of a picture and those of a sound are of the same video file."""

from __future__ import annotations

from typing import NamedTuple

from vadpipe.errors import DataError
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import FeatureTrack, TimeGrid


class Origin(NamedTuple):
    """What features are of. sha256: digest of the video file; of imported features, of the files they came in."""

    spec: FeatureSpec
    grid: TimeGrid
    sha256: str

    @classmethod
    def of(cls, track: FeatureTrack) -> Origin:
        """Where a track is from."""
        return cls(track.spec, track.grid, track.source_sha256)


def require_one_video(video: str, picture: Origin, sound: Origin) -> None:
    """Raise :class:`DataError`, which names both, unless picture and sound can be of one video ``video``.

    The number of snippets has to agree. So have the file's digest and the number of frames where both are known:
    imported features tell neither.
    """
    sides = [f"{origin.spec.folder}: {_in_words(origin)}" for origin in (picture, sound)]
    if picture.grid.num_snippets != sound.grid.num_snippets:
        raise DataError(
            f"video {video!r}: {sound.grid.num_snippets} rows of audio features, expected "
            f"{picture.grid.num_snippets} as of the picture ({' and '.join(sides)}); extract both anew"
        )
    known = all(origin.sha256 and origin.spec.model != "imported" for origin in (picture, sound))
    if known and (picture.sha256, picture.grid.num_frames) != (sound.sha256, sound.grid.num_frames):
        raise DataError(
            f"video {video!r}: picture and sound are of different files: {' and '.join(sides)}; "
            "extract both from one file"
        )


def _in_words(origin: Origin) -> str:
    file = f" of the file {origin.sha256[:12]}" if origin.sha256 else ""
    return f"{origin.grid.num_frames} frames{file}"
