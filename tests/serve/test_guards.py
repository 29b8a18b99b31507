from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from .conftest import ColourDatabase, connect, make_app, make_photo

RED = make_photo((200, 30, 30))


def test_everything_but_the_page_asks_for_the_token(database: ColourDatabase) -> None:
    with connect(make_app(database, token="open sesame".replace(" ", "-"))) as client:
        for path in ("/", "/docs", "/openapi.json", "/static/app.js", "/api/health"):
            assert client.get(path).status_code == 200, path
        for path in ("/api/places", f"/api/photos/{database.ids[0]}", "/metrics", "/nowhere", "//api/places"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer"), path
        assert client.post("/api/locate", files={"photos": RED}).status_code == 401
        for header in ("Bearer open-sesam", "Bearer", "Basic open-sesame", "open-sesame", "Bearer öpen"):
            assert client.get("/api/places", headers={"Authorization": header.encode()}).status_code == 401, header
        for header in ("Bearer open-sesame", "bearer open-sesame"):
            assert client.get("/api/places", headers={"Authorization": header}).status_code == 200


def test_no_token_is_needed_where_none_is_set(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        assert client.get("/api/places").status_code == 200
        assert "security" not in client.get("/openapi.json").json()["paths"]["/api/places"]["get"]


def test_only_the_names_of_this_machine_are_answered(database: ColourDatabase) -> None:
    with connect(make_app(database, allowed_hosts=frozenset({"127.0.0.1", "localhost", "::1"}))) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert client.get("/api/health", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "localhost.evil.example:8000", "", "[::1", "127.0.0.1@evil.example"):
            refused = client.get("/api/health", headers={"Host": host})
            assert refused.status_code == 421, host
            assert "answers to 127.0.0.1, ::1, localhost only" in refused.json()["detail"]


def test_large_requests_are_refused_before_they_are_read(database: ColourDatabase) -> None:
    def send_slowly() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    with connect(make_app(database, max_upload_mb=0.01)) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        declared = client.post("/api/locate", content=b"x" * 10_001, headers=headers)
        undeclared = client.post(
            "/api/locate", content=b"--x\r\n" + b"y" * 20_000, headers=headers | {"Content-Length": "9"}
        )
        streamed = client.post("/api/locate", content=send_slowly(), headers=headers)
        odd = client.post("/api/locate", content=b"", headers=headers | {"Content-Length": "-1"})
    for answer in (declared, undeclared, streamed, odd):
        assert answer.status_code == 413
        assert answer.json() == {"detail": "The request is larger than 0.01 MB. Send fewer or smaller photos."}


def test_requests_that_take_too_long_are_ended(database: ColourDatabase) -> None:
    gate = threading.Event()
    database.encoder.before_describing = lambda _: gate.wait(10) and None
    app = make_app(database, max_seconds=1)
    with connect(app) as client:
        answer = client.post("/api/locate", files={"photos": RED})
        assert answer.status_code == 503
        assert answer.json() == {"detail": "This took longer than 1 s."}
        assert answer.headers["retry-after"] == "5"
        gate.set()
        assert app.state.service.batcher.waiting == 0
        assert client.post("/api/locate", files={"photos": RED}).status_code == 200


def test_an_upload_that_never_ends_is_ended(database: ColourDatabase) -> None:
    messages = []

    async def send_nothing() -> dict[str, object]:
        await asyncio.sleep(60)
        raise AssertionError

    async def note(message: dict[str, object]) -> None:
        messages.append(message)

    scope = {
        **{"type": "http", "method": "POST", "path": "/api/locate", "query_string": b"", "scheme": "http"},
        "headers": [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"100")],
    }
    asyncio.run(make_app(database, max_seconds=0.2)(scope, send_nothing, note))
    assert messages[0]["status"] == 503


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/static/app.js", "/api/places", "/metrics", "/nowhere", "/api/photos/x"]
)
def test_every_answer_carries_the_security_headers(path: str, database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"


def test_a_failure_is_confessed_with_the_security_headers(database: ColourDatabase) -> None:
    def fail(_: object) -> None:
        raise ValueError("a secret path")

    database.encoder.before_describing = fail
    with connect(make_app(database)) as client:
        answer = client.post("/api/locate", files={"photos": RED})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "The service failed; its log says why."}
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("tiles", "source"),
    [
        ("https://tile.openstreetmap.org/{z}/{x}/{y}.png", "https://tile.openstreetmap.org"),
        ("https://{s}.tiles.example:8443/{z}/{x}/{y}.png?key=1", "https://*.tiles.example:8443"),
        ("/tiles/{z}/{x}/{y}.png", "data:"),
    ],
)
def test_images_may_also_come_from_the_tiles(tiles: str, source: str, database: ColourDatabase) -> None:
    with connect(make_app(database, tiles=tiles)) as client:
        policy = client.get("/").headers["content-security-policy"]
    (images,) = (rule for rule in policy.split("; ") if rule.startswith("img-src"))
    assert images.split()[-1] == source
