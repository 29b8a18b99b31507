"""The process that decodes uploaded photos: it forks for each, so that a photo can be given up at any moment.

Decoders are C code that nobody can interrupt, and some read piece by piece in Python, which would hold up all other
threads. Its standard input is a socket over which come other sockets, one per photo. On each of them a child sends its
process number, takes a request, and answers with pixels or with what is wrong. When the service ends, so do all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
import warnings
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from progeo.errors import ProgeoError
from progeo.pixels.decoding import NotAPhotoError, TooLargeError, can_open_heic, open_image
from progeo.pixels.recipe import Preprocessing, read_pixels

# What cameras and phones write. Each further format is one that no photo needs and an attacker may.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF")
MAX_ASPECT_RATIO = 12
"""Panoramas have up to 8; the model takes time and memory in proportion."""
HEAD = struct.Struct("!II")
"""Lengths of a note in JSON and of the bytes that follow it."""
NUMBER = struct.Struct("!i")
MOST_WARNINGS = 3
LONGEST_WARNING = 200
"""Warnings of image libraries that are handed on of a photo, and their characters."""
KINDS: dict[str, type[ProgeoError]] = {kind.__name__: kind for kind in (NotAPhotoError, TooLargeError, ProgeoError)}


def read_upload(file: BinaryIO, name: str, preprocessing: Preprocessing, *, max_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) that a model wants of an uploaded photo.

    Raises:
        NotAPhotoError: it is no photo of ``FORMATS``, whatever it is called.
        TooLargeError: it has more than ``max_pixels`` pixels, or is over a limit of all photos.
        ProgeoError: it is damaged.
    """
    width, height = open_image(file, name=name, formats=FORMATS).size
    if width * height > max_pixels:
        raise TooLargeError(f"{name} has {width} x {height} pixels, more than {max_pixels / 1e6:g} megapixels.")
    if not preprocessing.square and max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise TooLargeError(
            f"{name} has {width} x {height} pixels: one side is more than {MAX_ASPECT_RATIO} times "
            "as long as the other. Crop it."
        )
    return read_pixels(file, preprocessing, name=name, formats=FORMATS)


def answer(connection: socket.socket) -> None:
    """Decode the one photo that a connection asks for."""
    with connection.makefile("rb") as incoming, connection.makefile("wb") as outgoing:
        outgoing.write(NUMBER.pack(os.getpid()))
        outgoing.flush()
        note_size, size = HEAD.unpack(incoming.read(HEAD.size))
        note = json.loads(incoming.read(note_size))
        content = BytesIO(incoming.read(size))
        limit_resources(note["max_bytes"], note["max_seconds"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")  # each once
            found = decode(content, note["name"], Preprocessing.from_dict(note["preprocessing"]), note["max_pixels"])
        said = [str(warning.message)[:LONGEST_WARNING] for warning in caught[:MOST_WARNINGS]]
        send(outgoing, {**found[0], "warnings": said}, found[1])


def decode(
    content: BytesIO, name: str, preprocessing: Preprocessing, max_pixels: int
) -> tuple[dict[str, object], bytes]:
    """Return the note and the bytes that answer a request: pixels, or what is wrong."""
    try:
        pixels = read_upload(content, name, preprocessing, max_pixels=max_pixels)
    except ProgeoError as error:
        return {"error": type(error).__name__, "detail": str(error)}, b""
    except MemoryError:
        detail = f"The image {name} takes too much memory to decode."
        return {"error": TooLargeError.__name__, "detail": detail}, b""
    return {"shape": pixels.shape}, pixels.tobytes()


def send(stream: BinaryIO, note: dict[str, object], content: bytes) -> None:
    """Write a note and the bytes that belong to it."""
    text = json.dumps(note).encode()
    stream.write(HEAD.pack(len(text), len(content)) + text)
    stream.write(content)
    stream.flush()


def limit_resources(max_bytes: int, max_seconds: float) -> None:
    """End this process where it takes more memory or time than any photo within the limits."""
    import resource  # not on Windows, where nothing forks

    seconds = int(time.process_time() + max_seconds) + 1
    for kind, most in ((resource.RLIMIT_AS, max_bytes), (resource.RLIMIT_CPU, seconds)):
        _, hardest = resource.getrlimit(kind)
        limit = most if hardest == resource.RLIM_INFINITY else min(most, hardest)
        with suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(kind, (limit, hardest))


def main() -> None:
    """Fork for each connection that comes in, until the service hangs up."""
    can_open_heic()
    Image.init()  # loads the codecs once, before there are children
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system clears the children away
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, sys.stderr.fileno())  # codecs write there too
    with socket.socket(fileno=os.dup(0)) as service:
        os.dup2(silence, 0)
        while True:
            message, handles, _, _ = socket.recv_fds(service, 1, 1)
            if not message:
                break
            with socket.socket(fileno=handles[0]) as connection:
                if os.fork() == 0:
                    try:
                        service.close()
                        answer(connection)
                    finally:
                        os._exit(0)
    os.killpg(0, signal.SIGKILL)
