"""Frames with positions out of footage and a GPX track."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from progeo import cli
from progeo.data.table import read_photos
from progeo.data.tools.footage import Video, _match
from progeo.data.tools.frames import choose_frames
from progeo.data.tools.gpx import format_moment, read_track
from progeo.errors import ProgeoError

from ..footage import write_track, write_video
from ..photos import write_photo


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten seconds at two metres a second, filmed."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "walk.mp4")
    write_track(tmp_path / "walk.gpx")
    return tmp_path


def take(*arguments: str, source: str = "walk.mp4") -> int:
    return cli.main(["data", "frames", source, "frames", "--gpx", "walk.gpx", *arguments])


def test_frames_of_a_video(walk: Path) -> None:
    assert take() == 0
    table = read_photos("frames")
    assert [Path(path).name for path in table["path"]] == [f"walk_{ms:09}.jpg" for ms in (0, 2500, 5000, 7500)]
    north = table["utm_north"].to_numpy()
    assert north - north[0] == pytest.approx([0, 5, 10, 15], abs=0.1)
    assert table["timestamp"].to_list()[:2] == ["2023-04-06T10:19:05Z", "2023-04-06T10:19:07.500Z"]
    assert np.cos(np.radians(table["heading"].to_numpy())) == pytest.approx([1] * 4, abs=0.01)
    # Each frame is five brighter than the one before.
    brightness = [float(np.asarray(Image.open(path)).mean()) for path in table["path"]]
    assert brightness == pytest.approx([0, 50, 100, 150], abs=8)


@pytest.mark.parametrize(
    ("name", "codec", "options", "cut"),
    [
        ("walk.ts", "mpeg2video", {"bf": "2", "g": "8"}, 0),
        ("walk.mpg", "mpeg2video", {"bf": "2", "g": "8"}, 0),
        ("walk.avi", "mpeg4", {"bf": "2"}, 0),
        ("walk.mp4", "mpeg4", {"g": "4"}, 8),
    ],
)
def test_each_frame_goes_with_its_time(walk: Path, name: str, codec: str, options: dict[str, str], cut: int) -> None:
    write_video(Path(name), 40, 25 if codec == "mpeg2video" else 4, codec=codec, options=options, cut=cut)
    assert take("--every", "0.4", "--start", "2023-04-06T10:19:05Z", source=name) == 0
    table = read_photos("frames")
    seconds = [datetime.fromisoformat(str(text)).timestamp() - 1680776345 for text in table["timestamp"]]
    fps = 25 if codec == "mpeg2video" else 4
    assert seconds[0] == 0
    assert len(seconds) == pytest.approx((40 - cut) / fps * 2 / 0.4, rel=0.3)
    brightness = np.array([np.asarray(Image.open(path)).mean() for path in table["path"]])
    assert brightness / 5 == pytest.approx(cut + np.array(seconds) * fps, abs=0.99)


def test_halves_of_frames_and_frames_that_do_not_decode() -> None:
    frames = [SimpleNamespace(pts=pts, duration=2) for pts in (4, 6, 12)]  # of which 0, 2, 8 and 10 do not decode
    found = [
        (frame.pts, timestamp) for frame, timestamp in _match(iter(frames), [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13])
    ]
    assert found == [(4, 4), (4, 5), (6, 6), (6, 7), (12, 12), (12, 13)]


def test_frames_are_there_again_after_a_stop(walk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Video.save

    def stop(self: Video, wanted: list[tuple[int, Path]]) -> object:
        for number in save(self, wanted):
            yield number
            raise KeyboardInterrupt

    monkeypatch.setattr(Video, "save", stop)
    assert take() == 130
    assert [path.name for path in Path("frames").glob("*.jpg")] == ["walk_000000000.jpg"]
    assert not Path("frames/manifest.csv").exists()
    first = Path("frames/walk_000000000.jpg").stat().st_mtime_ns
    monkeypatch.setattr(Video, "save", save)
    assert take() == 0
    assert Path("frames/walk_000000000.jpg").stat().st_mtime_ns == first
    assert len(read_photos("frames")) == 4
    assert [path.name for path in Path("frames").iterdir() if path.name.startswith(".")] == []


def test_frames_of_photos(walk: Path) -> None:
    for second in range(10):
        write_photo(Path(f"photos/{9 - second}.jpg"), time=f"2023:04:06 12:19:{5 + second:02}")
    write_photo(Path("photos/x.png"), time="2023:04:06 12:19:15")
    assert take("--offset", "-7200", "--every", "7", source="photos") == 0
    table = read_photos("frames").sort("timestamp")
    assert [Path(path).name for path in table["path"]] == ["9.jpg", "5.jpg", "1.jpg"]
    assert [str(moment)[-4:] for moment in table["timestamp"]] == [":05Z", ":09Z", ":13Z"]


def test_photos_of_one_name_become_frames_of_their_own(walk: Path) -> None:
    names = ["IMG_1.jpg", "IMG_1.JPG", "IMG_1.png", "IMG_2.webp", "a/b.jpg", "a_b.jpg", "A_B.png", "c.jpg"]
    for second, name in enumerate(names):
        write_photo(Path("photos", name), time=f"2023:04:06 10:19:{5 + second:02}")
    assert take("--every", "1", source="photos") == 0
    table = read_photos("frames").sort("timestamp")
    assert [str(moment)[-3:] for moment in table["timestamp"]] == [f"{5 + second:02}Z" for second in range(len(names))]
    assert len({path.lower() for path in table["path"]}) == len(names) == len(list(Path("frames").glob("*.jpg")))
    assert [Path(table["path"][number]).name for number in (3, 7)] == ["IMG_2.jpg", "c.jpg"]
    for name, frame in zip(names, table["path"], strict=True):
        if name.endswith((".jpg", ".JPG")):
            assert Path(frame).read_bytes() == Path("photos", name).read_bytes()


def test_photos_at_even_intervals(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        write_photo(Path(f"photos/{number}.png"))
    assert take(source="photos") == 2
    assert "6 of 6 photos in photos do not say in their EXIF data when they were taken, first 0.png" in (
        capsys.readouterr().err
    )
    assert take("--fps", "0.5", source="photos") == 2
    assert "photos/0.png does not say when it was taken: say when with --start" in capsys.readouterr().err
    assert take("--fps", "0.5", "--start", "2023-04-06T10:19:05Z", source="photos") == 0
    table = read_photos("frames")
    assert [Path(path).name for path in table["path"]] == ["0.jpg", "2.jpg", "4.jpg"]
    assert {Image.open(path).format for path in table["path"]} == {"JPEG"}


def test_clocks_that_do_not_overlap(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_track(Path("walk.gpx"), hour=8)
    assert take() == 2
    message = capsys.readouterr().err
    assert "runs from 2023-04-06T10:19:05Z to 2023-04-06T10:19:14.750Z" in message
    assert "the track from 2023-04-06T08:19:05Z to 2023-04-06T08:19:15Z" in message
    assert "--offset -7200 would" in message
    assert not Path("frames").exists()
    assert take("--offset", "-7200") == 0
    assert take("--offset", "-3600") == 2
    assert "--offset -7200 would" in capsys.readouterr().err


def test_course_of_frames_far_from_each_other(walk: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(Path("walk.mp4"), frames=32, fps=1)
    write_track(Path("walk.gpx"), norths=range(0, 320, 10))
    assert take("--every", "150") == 0
    table = read_photos("frames")
    assert len(table) == 3
    assert np.cos(np.radians(table["heading"].to_numpy())) == pytest.approx([1] * 3, abs=0.01)
    assert "heading" not in caplog.text


def test_frames_without_a_course_are_counted(walk: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(Path("walk.gpx"), norths=range(0, 400, 20))
    for number in range(3):
        write_photo(Path(f"photos/{number}.png"))
    assert take("--fps", "0.125", "--start", "2023-04-06T10:19:05Z", source="photos") == 0
    assert read_photos("frames")["heading"].null_count() == 3
    assert "3 of 3 frames without a heading: there is no other within 100 m and 300 s" in caplog.text


def test_gaps_and_ends_of_the_track(walk: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(Path("walk.gpx"), norths=(0, 5, 10, 500, 505, 510))
    assert take() == 0
    table = read_photos("frames")
    north = table["utm_north"].to_numpy()
    assert north - north[0] == pytest.approx([0, 5, 10, 500, 505, 510], abs=1)
    assert "Left out: 22 of 40 frames outside the track or in its gaps" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "noon"], "--start noon is no time such as"),
        (["--fps", "2"], "--fps is for folders of photos"),
        (["--gpx", "no.gpx"], "There is no track no.gpx"),
        (["--gpx", "walk.mp4"], "walk.mp4 cannot be read as a GPX track"),
        (["--gpx", "drawn.gpx"], "drawn.gpx has 1 points, of which 0 say when they were recorded"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str], message: str, walk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("drawn.gpx").write_text(
        '<gpx version="1.1" creator="t"><trk><trkseg><trkpt lat="1" lon="1"/></trkseg></trk></gpx>'
    )
    assert take(*arguments) == 2
    assert message in capsys.readouterr().err


def test_videos_that_cannot_be_read(
    walk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert take(source="walk.gpx") == 2
    assert "walk.gpx cannot be read as a video" in capsys.readouterr().err
    assert take(source="nowhere.mp4") == 2
    assert "There is no video or folder nowhere.mp4" in capsys.readouterr().err
    write_video(Path("untimed.mp4"), start=None)
    assert take(source="untimed.mp4") == 2
    assert "untimed.mp4 does not say when it starts: say when with --start" in capsys.readouterr().err
    assert take("--start", "2023-04-06T10:19:05Z", source="untimed.mp4") == 0
    assert take() == 2
    assert "frames holds frames of " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "av", None)
    assert take() == 2
    assert '[video]"' in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(Path("frames/mine.jpg"))
    assert take() == 2
    assert "frames is there already: please choose a folder that is new or empty" in capsys.readouterr().err
    assert [path.name for path in Path("frames").iterdir()] == ["mine.jpg"]


@given(
    steps=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=60),
    every=st.floats(0.5, 20),
)
def test_chosen_frames_are_apart_and_leave_nothing_out(steps: list[tuple[float, float]], every: float) -> None:
    positions = np.cumsum(np.array(steps), axis=0)
    numbers = choose_frames(positions, every)
    assert numbers[0] == 0
    for first, following in zip(numbers, [*numbers[1:], len(positions)], strict=True):
        distances = np.hypot(*(positions - positions[first]).T)
        assert (distances[first:following] < every).all()
        assert following == len(positions) or distances[following] >= every


TRACK = """<?xml version="1.0" encoding="{}"?><gpx><trk><name>Café</name><trkseg>
<trkpt lat="59.3293" lon="18.0686"><time>2023-04-06T10:00:00Z</time></trkpt>
<trkpt lat="59.3294" lon="18.0686"><time>2023-04-06T10:00:05Z</time></trkpt>
<trkpt lat="59.3295" lon="18.0686"><time>2023-04-06T10:00:10.5Z</time></trkpt></trkseg></trk></gpx>"""
NMEA = "$GPGGA,100000,5919.7580,N,01804.1160,E,1,08,0.9,5.4,M,,M,,*47\n" + "".join(
    f"$GNRMC,{time},{status},5919.{minutes},N,01804.1160,E,2.0,0.0,060423,,,A*65\r\n"
    for time, status, minutes in (("100000.00", "A", "7580"), ("100003", "V", "0000"), ("100005", "A", "7640"))
)
KML = """<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2"><Placemark><gx:Track>
<when>2023-04-06T10:00:00Z</when><when>2023-04-06T10:00:05Z</when>
<gx:coord>18.0686 59.3293 0</gx:coord><gx:coord>18.0686 59.3294 0</gx:coord></gx:Track></Placemark></kml>"""
TCX = """<TrainingCenterDatabase><Trackpoint><Time>2023-04-06T10:00:00Z</Time><Position><LatitudeDegrees>59.3293
</LatitudeDegrees><LongitudeDegrees>18.0686</LongitudeDegrees></Position></Trackpoint><Trackpoint>
<Time>2023-04-06T10:00:05Z</Time><Position><LatitudeDegrees>59.3294</LatitudeDegrees><LongitudeDegrees>18.0686
</LongitudeDegrees></Position></Trackpoint></TrainingCenterDatabase>"""


@pytest.mark.parametrize(
    ("content", "points"),
    [
        (TRACK.format("UTF-8").encode(), 3),
        (TRACK.format("ISO-8859-1").encode("latin-1"), 3),
        (TRACK.format("windows-1252").encode("cp1252"), 3),
        (TRACK.format("UTF-16").encode("utf-16"), 3),
        (TRACK.format("UTF-16").encode("utf-16-be"), 3),
        (TRACK.format("klingon").encode(), 3),
        (TRACK.format("UTF-8").replace("\n", "\r").encode(), 3),
        (TRACK.format("UTF-8").replace("trkpt", "wpt").encode(), 3),
        (TRACK.format("UTF-8").replace("trkpt", "rtept").encode(), 3),
        (TRACK.format("UTF-8").encode()[:-40], 2),
        (NMEA.encode(), 2),
        (KML.encode(), 2),
        (TCX.encode(), 2),
    ],
)
def test_tracks_of_several_kinds_and_encodings(tmp_path: Path, content: bytes, points: int) -> None:
    (tmp_path / "track").write_bytes(content)
    track = read_track(tmp_path / "track")
    assert track.seconds.tolist() == [1680775200.0, 1680775205.0, 1680775210.5][:points]
    latitude, longitude = track.to_degrees(track.positions)
    assert latitude == pytest.approx([59.3293, 59.3294, 59.3295][:points], abs=1e-7)
    assert longitude == pytest.approx(18.0686, abs=1e-7)


@pytest.mark.parametrize("bad", ["0", "NaN", "1e308", "inf", "x", "12.5"])
def test_bad_points_cost_themselves_alone(tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture) -> None:
    text = TRACK.format("UTF-8").replace('"59.3294" lon="18.0686"', f'"{bad}" lon="{bad}"')
    (tmp_path / "track.gpx").write_text(text)
    track = read_track(tmp_path / "track.gpx")
    kept = track.to_degrees(track.positions)[0]
    assert kept[[0, -1]] == pytest.approx([59.3293, 59.3295])
    if bad != "12.5":  # a place like any other
        assert len(kept) == 2
        assert "1 of 3 points in" in caplog.text
        assert "first at 2023-04-06T10:00:05Z" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "it is an archive; unpack it"),
        (b"\x0e\x10\xd9\x07\x00\x00\x00\x00.FIT", "it is a FIT file; export it as GPX"),
        (b"<osm/>", "it is XML of another kind (<osm>)"),
        (b"{}", "it must be GPX, KML, TCX or NMEA"),
    ],
)
def test_files_that_are_no_tracks_say_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "track").write_bytes(content)
    with pytest.raises(ProgeoError, match=re.escape(message)):
        read_track(tmp_path / "track")


def test_positions_between_points(tmp_path: Path) -> None:
    track = read_track(write_track(tmp_path / "walk.gpx"))
    between = track.locate(np.array([track.seconds[0] + 0.5, track.seconds[0] - 1, track.seconds[-1] + 1]))
    assert between[0] == pytest.approx(track.positions[:2].mean(axis=0), abs=1e-6)
    assert np.isnan(between[1:]).all()
    assert format_moment(track.seconds[0]) == "2023-04-06T10:19:05Z"
