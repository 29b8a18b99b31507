"""The table of located photos: its figures stand at any width, whatever photos are called."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len

from progeo.locating.estimate import Estimate, Located, Match
from progeo.locating.output.names import cut_middle, make_printable, tell_apart
from progeo.locating.output.table import write_table
from progeo.locating.output.wording import describe_calibration

LONG = f"@0500005.12@4000005.50@31@S@036.1447@3.0001@{'x' * 90}@202005@a note@.jpg"
HOSTILE = "[bold]pano[red]\x1b[31m\r\n\u202e写真.jpg"


def write(paths: list[str], width: int | None = None, *, calibrated: bool = True) -> list[str]:
    matches = [
        Match("1" * 32, path, 36.1, 3.0, None, None, 0.5, 3.0, 1.0) for path in ("/a/x/1.jpg", "/b/x/1.jpg", LONG)
    ]
    probability, source = (0.87, "database") if calibrated else (None, None)
    estimate = Estimate(
        *(-36.144123, -103.000123, 5.0, 0.62, probability, probability),
        *(calibrated, source, calibrated or None, matches),
    )
    file = io.StringIO()
    write_table([Located(path, estimate) for path in paths], 3, file, width=width)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("width", [60, 80, 100, 110, 200, None])
def test_the_figures_never_shrink(width: int | None, calibrated: bool) -> None:
    lines = write([LONG, HOSTILE, "/photos/写真.jpg"], width, calibrated=calibrated)
    answer = r" -36\.144123 -103\.000123 +5 m +62 %" + (" +87 %" if calibrated else "")
    assert sum(bool(re.fullmatch(answer, line)) for line in lines) == 3
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert any(line.startswith(r"[bold]pano[red]\x1b[31m\r\n") for line in lines)
    assert sum("0.500, 3 m: @0500005.12@" in line and line.endswith(".jpg") for line in lines) == 3
    assert max(map(cell_len, lines)) <= (width or 1000)
    assert (LONG in lines) == (width in (200, None))


def test_photos_of_one_name_are_told_apart() -> None:
    lines = write(["/trip/monday/1.jpg", "/trip/tuesday/1.jpg", "/trip/tuesday/2.jpg"])
    assert [line for line in lines if re.fullmatch(r"[a-z/]*\d\.jpg", line)] == [
        "monday/1.jpg",
        "tuesday/1.jpg",
        "2.jpg",
    ]
    assert "    0.500, 3 m: a/x/1.jpg" in lines
    assert "    0.500, 3 m: b/x/1.jpg" in lines


@pytest.mark.parametrize("knows", [True, False, None])
def test_a_calibration_says_that_it_was_fitted_without_verification(knows: bool | None) -> None:
    estimate = Estimate(1.0, 2.0, 5.0, 0.6, 0.9, 0.9, True, "queries", True, [], knows_verification=knows)
    text = describe_calibration([estimate])
    assert text.startswith("Probability: of being right within 25 m, learned from photos of known position")
    assert ("fitted without verification" in text) == (knows is False)


def test_names() -> None:
    assert tell_apart(["1.jpg", "/1.jpg", "a/1.jpg", "a/1.jpg"]) == {
        "1.jpg": "1.jpg",
        "/1.jpg": "/1.jpg",
        "a/1.jpg": "a/1.jpg",
    }
    assert make_printable("caf\udce9 \t写") == r"caf\udce9 \t写"
    assert cut_middle("0123456789", 7) == "012…789"
    assert cut_middle("写写写写写", 7) == "写写…写"
