"""A real HTTP server on this machine that answers by path, and misbehaves where a test asks for it.

    with Server() as server:
        server.routes["/a.jpg"] = picture_bytes          # or a function of the request
        server.routes["/sometimes"] = in_turn(status(503), status(429, {"Retry-After": "0"}), data)
        server.url, server.paths                         # what was asked for, in order

Paths without their query are looked up first with it, then without. What has no route is a 404.
"""

from __future__ import annotations

import http.server
import io
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

Answer = bytes | Callable[["Request"], None]


class Request(http.server.BaseHTTPRequestHandler):
    """One request, and the ways to answer it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        routes, path = self.server.routes, self.path
        with self.server.lock:
            self.server.paths.append(path)
            self.server.times.append(time.monotonic())
        answer = routes.get(path, routes.get(path.split("?")[0], status(404)))
        if isinstance(answer, bytes):
            self.send(answer)
        else:
            answer(self)

    do_POST = do_GET

    def send(self, content: bytes, code: int = 200, headers: Mapping | None = None):
        """Sends an answer; a header that is None is left out."""
        self.send_response(code)
        defaults = {"Content-Type": "application/octet-stream", "Content-Length": len(content)}
        for key, value in {**defaults, **(headers or {})}.items():
            if value is not None:
                self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(content)


class Server(http.server.ThreadingHTTPServer):
    """The server, running inside a `with` block."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str = "127.0.0.1"):
        super().__init__((address, 0), Request)
        self.routes: dict[str, Answer] = {}
        self.paths: list[str] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.url = f"http://{address}:{self.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # Connections are broken off on purpose.


def status(code: int, headers: Mapping | None = None, content: bytes = b"busy") -> Answer:
    return lambda request: request.send(content, code, headers)


def page(request: Request) -> None:
    request.send(b"<!DOCTYPE html><html>Sign in</html>", 200, {"Content-Type": "text/html"})


def redirect(location: str) -> Answer:
    return status(302, {"Location": location}, b"")


def announced(content: bytes, length: int | None) -> Answer:
    """An answer with another Content-Length than it has, or None, which ends with its content."""

    def answer(request: Request) -> None:
        request.send(content, 200, {"Content-Length": length, "Connection": "close"})
        request.close_connection = True

    return answer


def reset(request: Request) -> None:
    """Breaks the connection off with a TCP reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True


def drip(content: bytes, pause: float = 0.05, head: bool = False) -> Answer:
    """An answer whose body, or whose head, comes byte by byte."""

    def answer(request: Request) -> None:
        begin = b"HTTP/1.1 200 OK\r\n"
        rest = b"Content-Length: %d\r\n\r\n" % len(content) + content
        if head:
            rest = b"X-Slow: " + b"x" * 1000 + b"\r\n" + rest
        else:
            begin, rest = begin + rest[: -len(content)], content
        request.close_connection = True
        try:
            request.wfile.write(begin)
            for byte in rest:
                request.wfile.write(bytes([byte]))
                time.sleep(pause)
        except OSError:
            pass  # The client has had enough.

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The answers one after another; the last one for ever."""
    numbers, lock = itertools.count(), threading.Lock()

    def answer(request: Request) -> None:
        with lock:
            chosen = answers[min(next(numbers), len(answers) - 1)]
        request.send(chosen) if isinstance(chosen, bytes) else chosen(request)

    return answer


def picture(seed: int = 0, size: tuple[int, int] = (16, 16), kind: str = "JPEG") -> bytes:
    """The content of a picture file, another one for each seed."""
    pixels = np.random.RandomState(seed).randint(0, 256, [*size[::-1], 3]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
