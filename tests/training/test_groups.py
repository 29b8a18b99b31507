from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from progeo.data.file_names import parse_file_names
from progeo.errors import ProgeoError
from progeo.training.groups import assign_cells, group_places, make_groups


def positions(*rows: tuple[float, float, float | None]) -> pl.DataFrame:
    east, north, heading = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "path": [f"photo{k}.jpg" for k in range(len(rows))],
            "utm_east": pl.Series(east, dtype=pl.Float64),
            "utm_north": pl.Series(north, dtype=pl.Float64),
            "heading": pl.Series(heading, dtype=pl.Float64),
            "utm_zone": pl.repeat(10, len(rows), dtype=pl.Int32, eager=True),
            "utm_letter": pl.repeat("S", len(rows), eager=True),
        }
    )


def test_classes_and_groups_are_those_of_the_published_code(parity_dir: Path) -> None:
    fixture = json.loads(gzip.decompress((parity_dir / "cosplace_groups.json.gz").read_bytes()))
    table = parse_file_names(pl.Series("path", fixture["file_names"]))
    for case in fixture["cases"]:
        M, alpha, N, L = (case[name] for name in ("M", "alpha", "N", "L"))
        cells = assign_cells(table, M, alpha)
        np.testing.assert_array_equal(cells * [M, M, alpha], case["class_of_image"])
        np.testing.assert_array_equal(cells % [N, N, L], case["group_of_image"])
        groups = make_groups(
            table,
            M=M,
            alpha=alpha,
            N=N,
            L=L,
            min_images_per_class=case["min_images_per_class"],
            groups_num=len(case["classes_per_group"]),
        )
        published = {tuple(json.loads(key)): classes for key, classes in case["classes_per_group"].items()}
        assert {group.key: sorted(group.classes.tolist()) for group in groups} == {
            key: sorted(classes) for key, classes in published.items()
        }
        assert sum(len(group) for group in groups) == case["num_classes"]
        assert sum(len(group.images) for group in groups) == case["num_images"]
        for group in groups:
            for index, corner in enumerate(group.classes.tolist()):
                images = group.images_of(index)
                assert len(images) >= case["min_images_per_class"]
                assert all(case["class_of_image"][image] == corner for image in images)


def test_groups_do_not_depend_on_the_order_of_the_images() -> None:
    generator = np.random.default_rng(0)
    table = positions(*((x, y, h) for x, y, h in generator.uniform(0, [60, 60, 360], (400, 3))))
    table = table.with_columns(row=pl.Series(np.arange(400)))
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    settings = {"N": 2, "L": 2, "min_images_per_class": 1, "groups_num": 8}
    for group, other in zip(make_groups(table, **settings), make_groups(shuffled, **settings), strict=True):
        assert group.key == other.key
        np.testing.assert_array_equal(group.classes, other.classes)
        for index in range(len(group)):
            assert sorted(shuffled["row"].to_numpy()[other.images_of(index)]) == list(group.images_of(index))


def test_alpha_360_groups_by_position_alone_and_needs_no_heading() -> None:
    table = positions((1, 1, None), (2, 2, None), (11, 1, None), (12, 2, None))
    (group,) = make_groups(table, alpha=360, N=1, L=1, min_images_per_class=2, groups_num=1)
    assert group.classes.tolist() == [[0, 0, 0], [10, 0, 0]]


def test_headings_wrap_around() -> None:
    table = positions((1, 1, 360.0), (1, 1, -15.0), (1, 1, 0.0), (1, 1, 345.0))
    assert assign_cells(table, 10, 30)[:, 2].tolist() == [0, 11, 0, 11]


def test_equal_coordinates_in_two_zones_are_two_classes_of_one_group() -> None:
    table = positions((11, 1, 30), (12, 2, 30), (13, 3, 30), (14, 4, 30))
    two_zones = table.with_columns(utm_zone=pl.Series([10, 33, 10, 33], dtype=pl.Int32))
    (group,) = make_groups(two_zones, min_images_per_class=2, groups_num=1)
    assert [group.images_of(index).tolist() for index in range(len(group))] == [[0, 2], [1, 3]]
    assert group.key == make_groups(table, min_images_per_class=2, groups_num=1)[0].key
    np.testing.assert_array_equal(assign_cells(two_zones, 10, 30)[::2], assign_cells(table, 10, 30)[::2])


def test_missing_heading_names_the_image_and_the_way_out() -> None:
    with pytest.raises(ProgeoError, match=r"1 of 2 images have no heading .*photo1\.jpg.*`alpha` 360"):
        make_groups(positions((1, 1, 30), (1, 1, None)))


def test_too_few_groups_says_how_many_there_are() -> None:
    table = positions(*[(1, 1, 30)] * 10)
    with pytest.raises(ProgeoError, match="make only 1 groups .* 8 are asked for: use `groups_num` 1"):
        make_groups(table)


def test_no_class_with_enough_images_says_what_other_settings_leave() -> None:
    table = positions(*[(1, 1, 30)] * 4, *[(11, 1, 30)] * 4)
    with pytest.raises(ProgeoError) as error:
        make_groups(table)
    message = str(error.value)
    assert "No class has 10 images with M=10 and alpha=30 (8 images in all)" in message
    assert "`M` 10 `alpha` 30 `min_images_per_class`: 0 with 10, 0 with 5, 2 with 4, 2 with 3, 2 with 2" in message
    assert "`M` 20 `alpha` 30 `min_images_per_class`: 0 with 10, 1 with 5, 1 with 4" in message


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(-100, 200), st.floats(0, 360)), min_size=20, max_size=60),
    st.integers(1, 50),
    st.sampled_from([30, 60, 90, 360]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 3),
)
def test_groups_hold_each_image_once_and_no_neighbours(
    rows: list[tuple[float, float, float]], M: int, alpha: int, N: int, L: int, least: int
) -> None:
    table = positions(*rows)
    cells = assign_cells(table, M, alpha)
    _, class_of_image, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    kept = sizes[class_of_image.reshape(-1)] >= least
    assume(kept.any())
    options = {"M": M, "alpha": alpha, "N": N, "L": L, "min_images_per_class": least}
    count = len(np.unique(cells[kept] % [N, N, L], axis=0))
    groups = make_groups(table, **options, groups_num=count)
    assert sorted(np.concatenate([group.images for group in groups]).tolist()) == np.flatnonzero(kept).tolist()
    for group in groups:
        corners = group.classes // [M, M, alpha]
        assert (corners % [N, N, L] == group.key).all()
        for index, corner in enumerate(corners):
            assert (cells[group.images_of(index)] == corner).all()
        apart = np.abs(corners[:, None] - corners[None])
        is_other = ~np.eye(len(corners), dtype=bool)
        assert (apart[is_other] >= [N, N, L]).any(axis=1).all()
    with pytest.raises(ProgeoError, match=f"make only {count} groups"):
        make_groups(table, **options, groups_num=count + 1)


def test_places_are_classes_dealt_to_groups_always_alike() -> None:
    names = [f"place {number % 30}" if number % 31 else None for number in range(300)]
    table = pl.DataFrame({"place": names})
    groups = group_places(table, min_images_per_class=5, groups_num=4)
    assert [len(group) for group in groups] == [8, 8, 7, 7]
    for group in groups:
        for index in range(len(group)):
            assert len({names[row] for row in group.images_of(index)}) == 1
    placed = [row for group in groups for row in group.images.tolist()]
    assert sorted(placed) == [row for row in range(300) if names[row]]
    shuffled = table.with_row_index().sample(fraction=1, shuffle=True, seed=1)
    for group, other in zip(groups, group_places(shuffled, min_images_per_class=5, groups_num=4), strict=True):
        np.testing.assert_array_equal(group.classes, other.classes)
        assert sorted(shuffled["index"].to_numpy()[other.images]) == sorted(group.images)


def test_places_with_numbers_keep_them_and_small_ones_are_left_out() -> None:
    (group,) = group_places(pl.DataFrame({"place": [7, 7, 12, 3, 3]}), min_images_per_class=2, groups_num=1)
    assert group.classes.tolist() == [[3], [7]]
    assert [group.images_of(index).tolist() for index in range(2)] == [[3, 4], [0, 1]]
    with pytest.raises(ProgeoError, match="2 of the 3 places have 2 images or more, too few for 3 groups"):
        group_places(pl.DataFrame({"place": [7, 7, 12, 3, 3]}), min_images_per_class=2, groups_num=3)
