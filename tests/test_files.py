"""Atomic writes: whole files or none, and what stood there before is kept; run folders: one per run."""

from __future__ import annotations

import errno
import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from progeo import files
from progeo.errors import ProgeoError
from progeo.files import (
    atomic_folder,
    atomic_write,
    check_file,
    check_folder,
    create_run_folder,
    hold_folder,
    open_file,
    read_bytes,
    read_text,
    write_json,
)


def test_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # where renaming is atomic
        assert temporary.name.startswith(".")  # where no listing takes it for a result
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), ProgeoError("clear")])
def test_failing_or_interrupted_keeps_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(type(error)) as raised, atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert raised.value is error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_says_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"

    def write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        ProgeoError, match=r"Cannot write .*file\.txt: No space left on device\. Please free some space"
    ):
        write()
    path.write_text("before")
    with pytest.raises(
        ProgeoError, match=r"No space left on device; the file\.txt written before is kept\. Please free"
    ):
        write()
    assert path.read_text() == "before"


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = r"Cannot write .*file/inner\.txt: .* Please check the place"
    with pytest.raises(ProgeoError, match=message), atomic_write(tmp_path / "file" / "inner.txt"):
        pytest.fail("there is nowhere to write")


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the one that ends last
    assert list(tmp_path.iterdir()) == [path]


def test_results_as_json(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"recalls": {"R@1": 50.0}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"recalls": {"R@1": 50.0}}


class Noon(datetime):
    @classmethod
    def now(cls, tz: object = None) -> Noon:  # type: ignore[override]
        return cls(2026, 1, 31, 12, 0, 0)


def test_run_folders_are_named_by_time_and_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "datetime", Noon)
    folders = [create_run_folder("my_city", tmp_path) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-01-31_12-00-00{end}" for end in ("", "_2", "_3")]
    assert all(folder.is_dir() and folder.parent == tmp_path / "my_city" for folder in folders)


def test_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "my_city").write_text("in the way")
    with pytest.raises(ProgeoError, match=r"Cannot create the run folder .*my_city.*Start where you may write"):
        create_run_folder("my_city", tmp_path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe, device, file = tmp_path / "pipe", tmp_path / "device", tmp_path / "file"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    file.write_bytes(b"\xef\xbb\xbfa\r\nb")
    (tmp_path / "link").symlink_to(file)
    for path in (pipe, device, Path("/dev/urandom")):
        for read in (open_file, read_bytes, read_text, check_file):
            with pytest.raises(ProgeoError, match="no regular file") as raised:
                read(path)
            assert str(path) in str(raised.value) and isinstance(raised.value, OSError)
    assert read_text(tmp_path / "link") == "a\nb" and read_bytes(file, 3) == b"\xef\xbb\xbf"
    with pytest.raises(ProgeoError, match="no regular file"):
        check_folder(tmp_path)
    pipe.unlink()
    device.unlink()
    check_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")


def test_a_full_disk_is_told_from_other_faults(tmp_path: Path) -> None:
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError("No space left on device (os error 28)")):
        with pytest.raises(ProgeoError, match="Please free some space"), atomic_write(tmp_path / "a.csv"):
            raise error
        with pytest.raises(ProgeoError, match="Please free some space"), atomic_folder(tmp_path / "folder"):
            raise error
    with pytest.raises(ProgeoError, match="who may write there"), atomic_folder(tmp_path / "folder"):
        raise OSError(errno.EACCES, "Permission denied")


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left, other, named = tmp_path / ".out.0123abcd.tmp", tmp_path / ".else.0123abcd.tmp", tmp_path / ".out.mine.tmp"
    for folder in (left, other, named):
        (folder / "train").mkdir(parents=True)
    with atomic_folder(tmp_path / "out"):
        assert not left.exists()
        at_work = next(tmp_path.glob(".out.????????.tmp"))
        with pytest.raises(ProgeoError, match="out"), atomic_folder(tmp_path / "out"):
            assert at_work.exists()  # of a run that is not done
            raise OSError("stopped")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".else.0123abcd.tmp", ".out.mine.tmp", "out"]


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    for _ in range(2):  # free again after the first
        with (
            hold_folder(tmp_path),
            pytest.raises(ProgeoError, match=r"Another run works in .*stop it first") as raised,
            hold_folder(tmp_path),
        ):
            pytest.fail("two runs in one folder")
        assert str(tmp_path) in str(raised.value)
    assert not list(tmp_path.iterdir())
