"""What all sources have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from progeo.errors import ProgeoError
from progeo.imagery.area import METRES_PER_DEGREE, Box
from progeo.imagery.client import Client
from progeo.imagery.picture import Picture


@dataclass
class Found:
    """What a service says of one box."""

    pictures: list[Picture] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why, by the id of each picture that cannot be used."""
    complete: bool = True
    """Whether these are all; otherwise smaller boxes have to be asked for."""


class Source(ABC):
    """One service.

    Attributes:
        address: where its interface is.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    home: ClassVar[str]
    """Address of the interface, if no other is given."""
    hosts: ClassVar[tuple[str, ...]]
    """Hosts of its pictures; ``.example.org`` stands for all below it."""
    largest_box: ClassVar[float]
    """Degrees that a box may be wide and high, or NaN for metres."""
    largest_box_metres: ClassVar[float] = math.nan
    pause: ClassVar[float] = 1.0
    """Seconds between two requests."""
    token: str | None = None

    def __init__(self, address: str | None = None) -> None:
        """Take the service at its address or at another one."""
        self.address = (address or self.home).rstrip("/")
        if urlsplit(self.address).scheme not in ("http", "https") or not urlsplit(self.address).hostname:
            raise ProgeoError(f"`address` {address} is no web address such as {self.home}.")

    def connect(
        self,
        *,
        contact: str | None = None,
        say: Callable[[str], object] = lambda text: None,
        pause: float | None = None,
    ) -> Client:
        """Return a client that asks this service alone."""
        host = urlsplit(self.address).hostname or ""
        return Client(
            self.title,
            {host, *self.hosts},
            contact=contact,
            secrets=[self.token or ""],
            pause=self.pause,
            say=say,
        )

    def tile(self, boxes: list[Box]) -> list[Box]:
        """Return boxes that are as small as the service wants them."""
        tiles: list[Box] = []
        for box in boxes:
            height = width = self.largest_box
            if not math.isnan(self.largest_box_metres):
                height = self.largest_box_metres / METRES_PER_DEGREE
                width = height / max(0.01, math.cos(math.radians(max(abs(box.south), abs(box.north)))))
            tiles += box.tile(height, width)
        return tiles

    @abstractmethod
    def search(self, client: Client, box: Box) -> Found:
        """Ask for the pictures in a box.

        Raises:
            TooMuchError: it must be smaller.
            FetchError: the service does not answer.
        """

    def renew(self, client: Client, picture: Picture) -> Picture:
        """Return the picture with an address that is valid now, where addresses expire."""
        return picture
