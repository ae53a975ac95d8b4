"""The explorer as a web server: addresses, limits, and errors in one line.

Nothing here makes pictures: `explorer` does. The page comes whole from this server, and its
Content-Security-Policy has the browser ask nobody else.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dnnlib import UserError, pages, schema
from dnnlib.util import one_line
from training.latents.options import SPACES, WALKS
from training.pictures import video
from training.pictures.explorer import requests
from training.pictures.explorer.desk import Result
from training.pictures.explorer.explorer import Explorer
from training.snapshots.class_names import count_classes, label_names

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_MOST_JSON, MOST_PHOTO = 1 << 16, 32 << 20  # Bytes of a request.
_MOST_CONNECTIONS = 64  # Each may bring a photo.
_LONGEST_END = 20  # Seconds that requests get at the end; each ends at its next step.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; media-src 'self'; "
    "style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_local(host: str) -> bool:
    """Whether an address, or name, reaches this machine from itself only."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def make_app(explorer: Explorer, host: str) -> Starlette:
    """The web application of an explorer.

    Args:
        explorer: makes what is asked for.
        host: where it listens. It answers to that name, and to addresses: no page of the web can
            lead a browser here by a name of its own.
    """

    def made(make: Callable[..., Result], kind: type) -> Callable:
        async def answer(request: Request) -> Response:
            wanted = schema.parse_json(await _body(request, _MOST_JSON), kind)
            return _told(await run_in_threadpool(make, wanted))

        return answer

    async def photo(request: Request) -> Response:
        wanted = schema.parse_json(request.query_params.get("how", "{}"), requests.PhotoRequest)
        content = await _body(request, MOST_PHOTO)
        return _told(await run_in_threadpool(explorer.photo, wanted, content))

    async def progress(request: Request) -> Response:
        text, done, total = explorer.progress
        return JSONResponse({"text": text, "done": done, "total": total})

    async def stop(request: Request) -> Response:
        _check_origin(request)
        explorer.stop()
        return JSONResponse({})

    async def save(request: Request) -> Response:
        _check_origin(request)
        return JSONResponse(await run_in_threadpool(explorer.save, request.path_params["id"]))

    async def file(request: Request) -> Response:
        result = explorer.desk.find(request.path_params["id"])
        path = result.files.get(request.path_params["name"].removeprefix(result.name))
        if path is None:
            raise UserError("there is no such file")
        return FileResponse(path, headers=_HEADERS)

    def asset(path: str) -> Callable:
        async def answer(request: Request) -> Response:
            return FileResponse(path, headers=_HEADERS)

        return answer

    page = _page(explorer)
    post = {"methods": ["POST"]}
    routes = [
        Route("/", lambda request: HTMLResponse(page, headers=_HEADERS)),
        Route("/page.css", asset(os.path.join(_FOLDER, "page.css"))),
        Route("/page.js", asset(os.path.join(_FOLDER, "page.js"))),
        Route("/copy.js", asset(pages.COPY_SCRIPT)),
        Route("/api/picture", made(explorer.picture, requests.PictureRequest), **post),
        Route("/api/grid", made(explorer.grid, requests.GridRequest), **post),
        Route("/api/mix", made(explorer.mix, requests.MixRequest), **post),
        Route("/api/walk", made(explorer.walk, requests.WalkRequest), **post),
        Route("/api/photo", photo, **post),
        Route("/api/save/{id}", save, **post),
        Route("/api/stop", stop, **post),
        Route("/api/progress", progress),
        Route("/files/{id}/{name}", file),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_KnownHosts, host=host)],
        exception_handlers={UserError: _say_what_is_wrong, Exception: _say_that_it_failed},
    )


def serve(explorer: Explorer, listener: socket.socket, host: str) -> None:
    """Answers until Ctrl-C or SIGTERM, which it passes on to who called."""
    config = uvicorn.Config(
        make_app(explorer, host),
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # Defects are told by the handler.
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_LONGEST_END,
    )
    _Server(config, explorer).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server whose end ends what is made."""

    def __init__(self, config: uvicorn.Config, explorer: Explorer):
        super().__init__(config)
        self._explorer = explorer

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._explorer.close()
        super().handle_exit(sig, frame)


class _KnownHosts:
    """Refuses requests that name another host than the explorer's."""

    def __init__(self, app: ASGIApp, host: str):
        self._app, self._is_local = app, is_local(host)
        self._names = {host, "localhost"}
        if not self._is_local:
            self._names |= {socket.gethostname(), socket.getfqdn()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._knows(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("there is nothing of that name here", 400)
            await refusal(scope, receive, send)

    def _knows(self, header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        address = _address(name)
        if address is None:
            return name in {known.lower() for known in self._names}
        return address.is_loopback or not self._is_local


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _page(explorer: Explorer) -> str:
    materials = explorer.materials
    subject, given = materials.subject, materials.directions
    names = label_names(subject.Gs) or [""] * count_classes(subject.Gs)
    page = pages.templates("training.pictures.explorer").get_template("page.html")
    return page.render(
        network=os.path.basename(subject.network),
        sha256=subject.sha256,
        size=subject.Gs.output_shape[2:],
        layers=subject.Gs.components.synthesis.input_shape[1],
        classes=[f"{number} {name}".strip() for number, name in enumerate(names)],
        directions=given[1].info.directions if given else {},
        walks=[w for w in WALKS if (w != "class" or names) and (w != "direction" or given)],
        films=[f for f in requests.FILMS if f != "mp4" or video.has_mp4()],
        spaces=SPACES,
        most_photo=MOST_PHOTO,
    )


def _told(result: Result) -> JSONResponse:
    address = f"/files/{result.id}/{result.name}"
    files = {suffix: f"{address}{suffix}" for suffix in result.files}
    return JSONResponse({"id": result.id, "files": files, **result.facts})


async def _body(request: Request, most: int) -> bytes:
    _check_origin(request)
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise UserError(f"this has more than {most:,} bytes")
    return bytes(content)


def _check_origin(request: Request) -> None:
    """Only the page itself may have something done, and no other page that is open beside it."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise UserError("another page asked for this")


async def _say_what_is_wrong(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": one_line(error, 500)}, 400, headers=_HEADERS)


async def _say_that_it_failed(request: Request, error: Exception) -> Response:
    """A defect of ours: Starlette raises it again, and the server goes on."""
    traceback.print_exception(error)
    text = f"this failed, which is a defect: {type(error).__name__}: {one_line(error)}"
    return JSONResponse({"error": text}, 500, headers=_HEADERS)
