"""Protocols: the registry, the sets they take, and those they refuse."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.evaluation.protocols import PROTOCOLS, find_protocol, select_queries


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (4, 4)).save(folder / name)


def name_of(number: int, zone: int | str = "", north: float = 0.0) -> str:
    return f"@500000@{4000000 + north}@{zone}@@@@{number}@@@@@@@@.jpg"


def read(folder: Path, protocol: str, **options: str) -> object:
    cache = folder.parent / "cache"
    return read_evaluation_set(folder, protocol=find_protocol(protocol), cache_folder=cache, **options)


def test_counts_that_the_field_agrees_on() -> None:
    counts = {name: (protocol.queries, protocol.database_images) for name, protocol in PROTOCOLS.items()}
    assert counts["msls-val"] == (740, 18_871)
    assert counts["nordland"] == (27_592, 27_592)
    assert counts["nordland-2760"] == (2_760, 27_592)
    assert counts["pitts30k-test"] == (6_816, 10_000)
    assert {name for name in PROTOCOLS if name.startswith("svox")} == {
        *("svox-night", "svox-overcast", "svox-rain", "svox-snow", "svox-sun")
    }
    rules = {name: str(protocol.rule) for name, protocol in PROTOCOLS.items() if not protocol.rule.is_metric}
    assert rules == {
        **{"nordland": "within 10 frames", "nordland-2760": "within 1 frame", "amstertime": "of the same place"}
    }
    assert {protocol.rule.limit for protocol in PROTOCOLS.values() if protocol.rule.is_metric} == {25.0}


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProgeoError, match=r"no protocol 'pits30k' \(did you mean pitts30k-test.*The protocols are: "):
        find_protocol("pits30k")


@pytest.mark.parametrize("place", ["", "test", "images/test"])
def test_the_parts_are_found_under_their_names_in_each_layout(place: str, tmp_path: Path) -> None:
    write_images(tmp_path / "svox" / place / "gallery", [name_of(1, 30), name_of(2, 30)])
    write_images(tmp_path / "svox" / place / "queries_night", [name_of(3, 30)])
    evaluation_set = read_evaluation_set(
        tmp_path / "svox", protocol=find_protocol("svox-night"), cache_folder=tmp_path / "cache"
    )
    assert (len(evaluation_set.database), len(evaluation_set.queries)) == (2, 1)
    assert evaluation_set.differences == [
        "the number of database images is 2 instead of 17,166",
        "the number of queries is 1 instead of 823",
    ]


def test_the_folders_of_another_set_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "database", [name_of(1, 30)])
    write_images(tmp_path / "set" / "queries", [name_of(2, 30)])
    with pytest.raises(ProgeoError, match=r"For `protocol` svox-sun, .*set must hold the folders gallery or database "):
        read(tmp_path / "set", "svox-sun")
    read(tmp_path / "set", "svox-sun", queries_folder="queries")


def test_photos_of_another_city_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "database", [name_of(1, 54)])
    write_images(tmp_path / "set" / "queries", [name_of(2, 54)])
    with pytest.raises(
        ProgeoError, match=r"pitts30k-test is Pittsburgh 30k, test, UTM zone 17, .* lie in zone 54: .*: tokyo247\."
    ):
        read(tmp_path / "set", "pitts30k-test")
    read(tmp_path / "set", "tokyo247")


def test_a_set_without_frames_or_places_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "database", ["@1@2@.jpg"])
    write_images(tmp_path / "set" / "queries", ["@1@2@.jpg"])
    with pytest.raises(
        ProgeoError, match=r"`protocol` nordland \(.*cannot be measured on .*frame number.*another data"
    ):
        read(tmp_path / "set", "nordland")
    with pytest.raises(ProgeoError, match=r"`protocol` amstertime .*no place in the column pano_id.*another data set"):
        read(tmp_path / "set", "amstertime")


def test_a_set_whose_queries_have_no_positive_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "database", [name_of(1), name_of(2)])
    write_images(tmp_path / "set" / "queries", [name_of(3, north=26.0)])
    with pytest.raises(
        ProgeoError, match="amstertime .* Not one query has a database image of the same place. Perhaps"
    ):
        read(tmp_path / "set", "amstertime")
    with pytest.raises(ProgeoError, match="st-lucia .* Not one query has a database image within 25 m. Perhaps"):
        read(tmp_path / "set", "st-lucia")


def test_queries_are_those_that_a_column_marks() -> None:
    protocol = find_protocol("msls-val")
    database = pl.DataFrame({"path": ["d"]})
    marked = pl.DataFrame({"path": ["a", "b", "c"], "subtask_all": [True, None, False]})
    assert select_queries(protocol, database, marked)["path"].to_list() == ["a"]
    few = pl.DataFrame({"path": ["a"] * 740})
    assert len(select_queries(protocol, database, few)) == 740
    with pytest.raises(
        ProgeoError,
        match=r"msls-val evaluates 740 queries \(.*has 11,084 and no column subtask_all.*`protocol` msls-val-full\.",
    ):
        select_queries(protocol, database, pl.DataFrame({"path": ["a"] * 11_084}))


def test_every_tenth_frame_is_counted_by_name_where_there_are_more_queries() -> None:
    protocol = find_protocol("nordland-2760")
    numbers = [number for number in range(3_000) if number != 5]  # a frame that was left out leaves no gap
    database, queries = (pl.DataFrame({"path": [f"{part}/{number:05}.png" for number in numbers]}) for part in "dq")
    chosen = select_queries(protocol, database, queries)["path"].to_list()
    assert chosen == [f"q/{number:05}.png" for number in numbers[::10]]
    assert len(select_queries(protocol, database, queries[::10])) == 300
    with pytest.raises(
        ProgeoError, match=r"`protocol` nordland-2760 \(.*cannot choose among the 2,999 queries: .* no frame number"
    ):
        select_queries(protocol, database, queries.with_columns(path=pl.lit("q.png")))
