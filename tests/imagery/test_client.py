"""The client: patience, limits, hosts, and what its messages say and do not say."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from progeo.imagery import client as module
from progeo.imagery.client import BusyError, Client, DeniedError, FetchError, TooMuchError, is_private

from .service import Answer, Service


@pytest.fixture
def client(service: Service) -> Client:
    return Client("Toy", ["127.0.0.1"], contact="me@example.org", secrets=["MLY|secret"], pause=0)


def test_it_says_who_asks(service: Service, client: Client) -> None:
    service.routes["/a"] = Answer({"a": 1})
    assert client.ask(f"{service.address}/a", {"q": "1"}, {"Authorization": "OAuth x"}) == {"a": 1}
    ((_, query, headers),) = service.asked
    assert query == {"q": "1"}
    said = headers["User-Agent"]
    assert re.fullmatch(r"progeo/[\d.]+ \((https://\S+; )?me@example.org\)", said)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_service_is_asked_again(status: int, service: Service, client: Client, no_waiting: list[float]) -> None:
    service.routes["/a"] = [Answer("", status), Answer("", status), Answer({"a": 1})]
    assert client.ask(f"{service.address}/a") == {"a": 1}
    assert no_waiting == [2, 4]


def test_it_waits_as_long_as_it_is_asked_to(service: Service, client: Client, no_waiting: list[float]) -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30))
    service.routes["/a"] = [
        Answer("", 429, {"Retry-After": "7"}),
        Answer("", 429, {"Retry-After": later}),
        Answer({}),
    ]
    assert client.ask(f"{service.address}/a") == {}
    assert no_waiting[0] == 7 and 25 < no_waiting[1] <= 30


def test_it_gives_up_where_the_wait_is_long(service: Service, client: Client) -> None:
    service.routes["/a"] = Answer("", 429, {"Retry-After": "3600"})
    with pytest.raises(BusyError, match=r"Toy does not answer 127.0.0.1/a: status 429.*3600 s.*later"):
        client.ask(f"{service.address}/a")
    assert len(service.asked) == 1


def test_it_gives_up_after_some_tries(service: Service, client: Client) -> None:
    service.routes["/a"] = Answer("", 502)
    with pytest.raises(BusyError, match="status 502, 5 times"):
        client.ask(f"{service.address}/a")
    assert len(service.asked) == 5


def test_slow_and_cut_answers_are_asked_for_again(service: Service, client: Client) -> None:
    service.routes["/a"] = [Answer({"a": 1}, cut_at=3), Answer({"a": 1})]
    assert client.ask(f"{service.address}/a") == {"a": 1}


def test_no_service_at_all() -> None:
    with pytest.raises(BusyError, match="the connection failed"):
        Client("Toy", ["127.0.0.1"], pause=0).ask("http://127.0.0.1:9/a")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Answer("<html>Log in</html>", 200, {"Content-Type": "text/html"}), FetchError, "a web page instead of JSON"),
        (Answer([1, 2]), FetchError, "a list instead of an object"),
        (Answer({"status": 404, "message": "Feature not found"}, 404), FetchError, "404: Feature not found"),
        (Answer({"error": {"message": "Invalid OAuth access token MLY|secret", "code": 190}}, 401), DeniedError, "401"),
        (Answer({"error": {"message": "Please reduce the amount of data", "code": 1}}, 500), TooMuchError, "reduce"),
    ],
)
def test_answers_that_are_errors(
    answer: Answer, error: type[FetchError], message: str, service: Service, client: Client
) -> None:
    service.routes["/a"] = answer
    with pytest.raises(error, match=message) as raised:
        client.ask(f"{service.address}/a", {"access_token": "MLY|secret"})
    assert "secret" not in str(raised.value)
    assert len(service.asked) == 1


def test_redirects_are_followed_on_its_hosts_alone(service: Service, client: Client) -> None:
    foreign = service.address.replace("127.0.0.1", "localhost")
    service.routes |= {
        "/near": Answer("", 302, {"Location": "/a"}),
        "/far": Answer("", 302, {"Location": f"{foreign}/a"}),
        "/round": Answer("", 302, {"Location": "/round"}),
        "/a": Answer({"a": 1}),
    }
    assert client.ask(f"{service.address}/near") == {"a": 1}
    service.asked.clear()
    with pytest.raises(FetchError, match="leads to localhost, which is no host of it") as raised:
        client.ask(f"{service.address}/far")
    assert raised.value.reason == "at the foreign host localhost"
    assert service.paths() == ["/far"]
    with pytest.raises(FetchError, match="again and again"):
        client.ask(f"{service.address}/round")


def test_a_picture_that_is_a_page(service: Service, client: Client) -> None:
    service.routes["/a.jpg"] = Answer("<!DOCTYPE html>", 200, {"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(FetchError, match="127.0.0.1/a.jpg is a web page"):
        client.download(f"{service.address}/a.jpg?signature=secret")


def test_too_large(service: Service, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 20)
    service.routes["/a.jpg"] = Answer(b"\xff\xd8" + bytes(2 << 20))
    with pytest.raises(FetchError, match="larger than 1 MB"):
        client.download(f"{service.address}/a.jpg")


@pytest.mark.parametrize(
    "address", ["http://pano.example/a", "https://10.0.0.1/a", "https://localhost/a", "https://nas.local/a"]
)
def test_addresses_of_this_network(address: str) -> None:
    assert is_private(address)
    assert not is_private("https://pano.example/a")
