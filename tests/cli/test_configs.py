"""Files of options that are damaged, or that somebody else wrote; values that no option can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from progeo.cli.program import parse_options
from progeo.errors import ProgeoError

COMMAND = ["--test_set_folder", "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"positive_dist_threshold: .inf", "--positive_dist_threshold is inf"),
        (b"positive_dist_threshold: .nan", "--positive_dist_threshold"),
        (b"radii: [5, .inf]", "--radii is inf"),
        (b"image_size: 12345678901234567890123456", "--image_size is 12345678901234567890123456"),
        (b"seed: " + b"1" * 5000, "digits"),
        (b"save_dir: caf\xe9", "is not written in UTF-8"),
        ("save_dir: x".encode("utf-16"), "is not written in UTF-8"),
        (b"save_dir: " + b"[" * 100_000, "nested too deep"),
        (b"save_dir: " + b"- " * 100_000, "nested too deep|no file of options"),
        (b"a: &a [1, 2]\nb: *a", "refers to itself"),
        (b"save_dir: !!python/object/apply:os.system [id]", "no file of options in YAML"),
        (b"- 1", "in place of names and values"),
        (b"\0\0", "no file of options in YAML"),
        (b"#" * 1_000_001, "more than 1,000,000 bytes"),
        (b"config: other.yaml", "it names another one"),
        (b"save_dir: ../../home", "out of logs"),
        (b"save_dir: a/../../b", "out of logs"),
        (b"save_dir: /home/you", "out of logs"),
    ],
)
def test_a_config_that_cannot_be_is_one_message(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ProgeoError, match=message) as raised:
        parse_options("eval", [*COMMAND, "--config", str(path)])
    assert str(path) in str(raised.value) or "--config" not in str(raised.value)
    assert len(str(raised.value)) < 600
    with pytest.raises(ProgeoError):
        parse_options("eval", [*COMMAND, f"--config={path}"])


def test_results_go_where_the_command_line_says(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("save_dir: /home/you\nseed: 3\n", encoding="utf-8")
    options = parse_options("eval", [*COMMAND, "--config", str(path), "--save_dir", "mine"])
    assert (options.save_dir, options.seed) == ("mine", 3)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(ProgeoError, match="no regular file"):
            parse_options("eval", [*COMMAND, "--config", path])


@pytest.mark.parametrize("value", ["1" * 26, "1" * 5000, "1e400"])
@pytest.mark.parametrize("name", ["image_size", "infer_batch_size", "seed", "positive_dist_threshold"])
def test_numbers_beyond_all_measure_are_refused(name: str, value: str) -> None:
    with pytest.raises(ProgeoError, match=f"--{name}"):
        parse_options("eval", [*COMMAND, f"--{name}", value])
