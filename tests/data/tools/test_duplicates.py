from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from progeo.data.tools.duplicates import MOST_BITS, find_duplicates, find_near
from progeo.data.tools.looks import WORDS, read_looks


def draw(seed: int) -> Image.Image:
    """A picture like no other: patches of grey, 160 x 120 pixels."""
    patches = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((160, 120), Image.Resampling.BICUBIC)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(0, 12))
def test_near_looks_are_those_of_a_comparison_of_all(seed: int, count: int, flips: int) -> None:
    generator = np.random.default_rng(seed)
    bits = np.repeat(generator.integers(0, 2, (count, 128), dtype=np.uint8), 2, axis=0)
    for row in bits[1::2]:
        row[generator.choice(128, flips, replace=False)] ^= 1
    looks = np.packbits(bits, axis=1).view(np.uint16)
    assert looks.shape == (2 * count, WORDS)
    distances = (bits[:, None] != bits[None]).sum(axis=2)
    expected = np.argwhere(np.triu(distances <= MOST_BITS, 1)).tolist()
    assert find_near(looks).tolist() == expected


def test_equal_looks_are_paired_with_the_first_only() -> None:
    looks = np.zeros((1000, WORDS), np.uint16)
    assert find_near(looks).tolist() == [[0, row] for row in range(1, 1000)]


def test_of_many_that_look_the_same_each_is_paired_with_the_first() -> None:
    generator = np.random.default_rng(0)
    bits = np.repeat(generator.integers(0, 2, (2, 128), dtype=np.uint8), 300, axis=0)
    for row in bits:
        row[generator.choice(128, 3, replace=False)] ^= 1
    bits[1::2] = bits[1::2][::-1]  # the two mixed
    near = np.tril((bits[:, None] != bits[None]).sum(axis=2) <= MOST_BITS, -1)
    expected = sorted([int(near[row].argmax()), row] for row in np.flatnonzero(near.any(axis=1)).tolist())
    assert len(expected) == 598
    assert find_near(np.packbits(bits, axis=1).view(np.uint16)).tolist() == expected


def test_copies_in_other_forms_are_found_and_other_pictures_are_not(tmp_path: Path) -> None:
    picture = draw(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    forms = {
        "a.jpg": lambda path: picture.save(path, quality=95),
        "b.jpg": lambda path: picture.save(path, quality=30),
        "c.png": lambda path: picture.resize((100, 75)).save(path),
        "d.jpg": lambda path: picture.point(lambda value: min(255, value + 15)).save(path, quality=90),
        "e.jpg": lambda path: picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=turned, quality=90),
    }
    for name, save in forms.items():
        save(tmp_path / name)
    for seed in range(1, 20):
        draw(seed).save(tmp_path / f"other{seed}.jpg")
    for name in ("flat1.png", "flat2.png"):
        Image.new("RGB", (64, 64), (10, 10, 10 + len(name))).save(tmp_path / name)
    (tmp_path / "z.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    paths = pl.Series(sorted(map(str, tmp_path.iterdir())))
    names = [Path(path).name for path in paths]
    duplicates = find_duplicates(read_looks(paths))
    flat = ("flat1.png", "flat2.png")
    assert [(names[one], names[other]) for one, other in duplicates.exact] == [flat, ("a.jpg", "z.jpg")]
    near = [(names[one], names[other]) for one, other in duplicates.near]
    assert {("a.jpg", other) for other in ("b.jpg", "c.png", "d.jpg", "e.jpg")} <= set(near)
    assert {name for pair in near for name in pair} == set(forms)


def test_photos_that_cannot_be_read_are_named_and_never_duplicates(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    paths = pl.Series([str(tmp_path / name) for name in ("whole.jpg", "cut.jpg", "text.jpg", "gone.jpg")])
    looks = read_looks(paths)
    problems = looks.problems.to_list()
    assert problems[0] is None
    assert "truncated" in problems[1]
    assert "it is none of JPEG, PNG" in problems[2]
    assert problems[3] == "No such file or directory"
    assert looks.comparable.tolist() == [True, False, False, False]
    duplicates = find_duplicates(looks)
    assert len(duplicates.exact) == len(duplicates.near) == 0
