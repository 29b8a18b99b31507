"""Photos that are slow to decode, sent together with good ones."""

from __future__ import annotations

import asyncio
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from progeo.errors import ProgeoError
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.serve import decoding
from progeo.serve.batching import Busy, Pixels
from progeo.serve.decoding import Decoders, Lane, forker

from .conftest import ColourDatabase, connect, make_app, make_photo, serve
from .hostile import make_chunky_png, make_png

GOOD = make_photo((200, 30, 30), (640, 480), format="JPEG")


def decode(content: bytes, *, max_pixels: int = 10**8, max_seconds: float = 30) -> Pixels:
    decoders = Decoders(1, max_pixels=max_pixels, max_seconds=max_seconds)
    return asyncio.run(decoders.read(io.BytesIO(content), "photo.jpg", Preprocessing(32)))


def test_another_process_reads_the_same_pixels() -> None:
    np.testing.assert_array_equal(decode(GOOD), read_pixels(GOOD, Preprocessing(32)))


def test_a_thread_reads_them_where_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CAN_FORK", False)
    np.testing.assert_array_equal(decode(GOOD), read_pixels(GOOD, Preprocessing(32)))


def test_a_good_photo_does_not_wait_for_slow_ones(database: ColourDatabase) -> None:
    """Eight photos that would take a core for seconds each; the good one comes after them."""
    slow = make_chunky_png(300_000)
    with serve(make_app(database, max_seconds=8)) as address, ThreadPoolExecutor(8) as senders:

        def send(photo: bytes) -> tuple[int, float]:
            start = time.perf_counter()
            answer = httpx.post(f"{address}/api/locate", files={"photos": photo}, timeout=60)
            return answer.status_code, time.perf_counter() - start

        send(GOOD)
        sent = [senders.submit(send, slow) for _ in range(8)]
        time.sleep(0.5)
        status, seconds = send(GOOD)
        assert status == 200
        assert sum(not one.done() for one in sent) >= 4, "the slow ones were not slow"
        assert seconds < 4  # they take 10 and more of one core
        assert {one.result()[0] for one in sent} <= {200, 429, 503}


def test_a_photo_that_is_given_up_ends_its_process(database: ColourDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    lower = decoding.Child.kill

    def note(child: decoding.Child) -> None:
        if child._pid is not None:
            numbers.append(child._pid)
        lower(child)

    monkeypatch.setattr(decoding.Child, "kill", note)
    with connect(make_app(database, max_seconds=1)) as client:
        answer = client.post("/api/locate", files={"photos": make_chunky_png(1_000_000)})
        assert (answer.status_code, answer.json()["detail"]) == (503, "This took longer than 1 s.")
        # On a busy machine it too may take longer than that.
        assert any(client.post("/api/locate", files={"photos": GOOD}).status_code == 200 for _ in range(20))
    number = numbers[0]
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the process still runs")


def test_memory_of_a_photo_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BYTES_BESIDES", 4 * 10**8)
    monkeypatch.setattr(decoding, "BYTES_PER_PIXEL", 0)
    assert decode(GOOD).shape == (32, 42, 3)
    with pytest.raises(ProgeoError, match=r"photo\.jpg.*too much memory"):
        decode(make_png(8000, 8000))


def test_a_forker_that_was_killed_is_started_again() -> None:
    decode(GOOD)
    assert forker._process is not None
    forker._process.kill()
    forker._process.wait()
    assert decode(GOOD).shape == (32, 42, 3)


def test_python_warnings_of_a_photo_name_its_request(
    database: ColourDatabase, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """EXIF data that ends too early make Pillow warn."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\xff\x7f\x10\0\0\0\0\0\0\0"
    photo = make_photo((200, 30, 30), (64, 48), format="JPEG", exif=exif)
    with pytest.warns(UserWarning, match="Tag data"):
        read_pixels(photo, Preprocessing(32))
    names = ["one.jpg", "red\x1b[31m\nError: two.jpg", "3" * 500]
    with connect(make_app(database)) as client:
        assert client.post("/api/locate", files={"photos": ("good.jpg", GOOD)}).status_code == 200
        assert not caplog.records
        for name in names:
            assert client.post("/api/locate", files={"photos": (name, photo)}).status_code == 200
        assert client.post("/api/locate", files={"photos": ("cut.jpg", photo[:700])}).status_code == 422
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    for line, name in zip(lines, ["one.jpg", "red", "333", "cut.jpg"], strict=True):
        assert line.startswith("POST /api/locate of testclient:50000, photo '") and f"photo '{name}" in line
        assert "Tag data" in line and line.isprintable() and len(line) < 500 and "site-packages" not in line
    assert "Warning" not in capfd.readouterr().err


def test_the_newest_goes_first_where_others_have_waited_long() -> None:
    async def enter_in_order(patience: float) -> list[int]:
        lane, order = Lane(1, patience), []
        await lane.enter()

        async def enter(number: int) -> None:
            await lane.enter()
            order.append(number)
            lane.leave()

        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(enter(number)))
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        await asyncio.sleep(0)
        lane.leave()
        await asyncio.wait(tasks)
        assert (lane.places, lane.waiting) == (1, 0)
        return order

    assert asyncio.run(enter_in_order(10)) == [0, 2]
    assert asyncio.run(enter_in_order(0.01)) == [2, 0]


def test_more_slow_photos_than_can_wait_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SLICE", 0.05)
    monkeypatch.setattr(decoding, "SLOW_WAITING", 1)

    async def send_many() -> list[object]:
        decoders = Decoders(1, max_pixels=10**8, max_seconds=30)
        slow = io.BytesIO(make_chunky_png(2_000_000))
        reading = [asyncio.create_task(decoders.read(slow, "photo.jpg", Preprocessing(32))) for _ in range(5)]
        done, waiting = await asyncio.wait(reading, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 2:
            more, waiting = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for task in waiting:
            task.cancel()
        return [task.exception() for task in done]

    errors = asyncio.run(send_many())
    assert all(isinstance(error, Busy) for error in errors)
