"""The web server: the page's own files, the token's entrance, and the WebSocket of each viewer."""

from __future__ import annotations

import asyncio
import errno
import importlib.resources
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from uva_edge.errors import OptionError, UvaEdgeError

from .access import HEADERS, Access, same_origin
from .choices import Choice
from .hub import Hub, Viewer
from .loop import PredictionLoop
from .protocol import MOST_COMMAND_BYTES, Command, read_command

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

PAGE: Final = {
    "/": ("index.html", "text/html"),
    "/view.js": ("view.js", "text/javascript"),
    "/picture.js": ("picture.js", "text/javascript"),
    "/view.css": ("view.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""All that is served, by its path."""
_log: Final = logging.getLogger(__name__)
_LOCKED: Final = "locked.html"
_OPEN: Final = ("/view.css", "/icon.svg")  # what the page that asks for the token needs
_REFUSED: Final = 4403  # a WebSocket's close code
_MOST_SWITCHES: Final = 2  # of a viewer: one that is told of as done may be about to end


def make_app(hub: Hub, loop: PredictionLoop, access: Access, port: int) -> ASGIApp:
    """The web application; needs the extra `view`."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute

    folder = importlib.resources.files(__package__).joinpath("page")
    files = {path: folder.joinpath(name).read_bytes() for path, (name, _) in PAGE.items()}

    async def serve(request: Request) -> Response:
        path = request.url.path
        return Response(files[path], media_type=PAGE[path][1])

    async def watch(viewer_socket: WebSocket) -> None:
        await _watch(viewer_socket, hub, loop)

    routes = [*(Route(path, serve) for path in PAGE), WebSocketRoute("/live", watch)]
    return _Guard(Starlette(routes=routes), access, port, folder.joinpath(_LOCKED).read_bytes())


class _Guard:
    """Lets through who may enter, and puts `HEADERS` on every response."""

    def __init__(self, app: ASGIApp, access: Access, port: int, locked: bytes) -> None:
        self._app, self._access, self._port, self._locked = app, access, port, locked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse, RedirectResponse, Response

        answer: ASGIApp = self._app
        token = _token_of(scope)
        if not self._is_named(scope):
            answer = PlainTextResponse("This address is not a name of this machine's.\n", status_code=421)
        elif self._access.token is not None and scope["path"] == "/" and token:
            if self._access.is_token(token):
                answer = RedirectResponse("/", 303, headers={"Set-Cookie": self._access.cookie(self._port)})
            else:
                answer = Response(self._locked, 401, media_type="text/html")
        elif scope["path"] not in _OPEN and not self._may_enter(scope):
            answer = Response(self._locked, 401, media_type="text/html")
        await answer(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin, host = _header(scope, b"origin"), _header(scope, b"host")
        if self._is_named(scope) and same_origin(origin, host) and self._may_enter(scope):
            await self._app(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": _REFUSED})  # not accepted yet: it is an HTTP 403

    def _is_named(self, scope: Scope) -> bool:
        return self._access.names_this_machine(_header(scope, b"host"))

    def _may_enter(self, scope: Scope) -> bool:
        return self._access.may_enter(_header(scope, b"cookie"), self._port)


def _token_of(scope: Scope) -> str:
    """What a request's query says the token is; "" where it says none."""
    query: str = scope["query_string"].decode("latin-1")
    try:
        fields = parse_qs(query, max_num_fields=8)
    except ValueError:  # more fields than that
        return ""
    return fields.get("token", [""])[0]


def _header(scope: Scope, name: bytes) -> str:
    """The value of a request's header; "" where it is absent, or there more than once."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def _with_headers(send: Send) -> Send:
    extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def _send(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return _send


# --- a viewer -------------------------------------------------------------------------------------------


async def _watch(viewer_socket: WebSocket, hub: Hub, loop: PredictionLoop) -> None:
    await viewer_socket.accept()
    try:
        viewer = hub.join()
    except OptionError as error:
        await viewer_socket.close(1013, str(error)[:120])
        return
    sender = asyncio.create_task(_send_to(viewer_socket, viewer))
    switches: set[asyncio.Task[None]] = set()
    try:
        while (message := await viewer_socket.receive())["type"] == "websocket.receive":
            try:
                command = read_command(message.get("text") or message.get("bytes"))
                if command.do == "switch":
                    if len(switches) >= _MOST_SWITCHES:
                        raise OptionError("your last switch is under way; try again when it is done")
                    # Apart, since it takes seconds: pictures go on, and so do their acknowledgements.
                    task = asyncio.create_task(_switch(viewer, loop, command))
                    switches.add(task)
                    task.add_done_callback(switches.discard)
                else:
                    _obey(viewer, loop, command)
            except UvaEdgeError as error:
                viewer.refuse(str(error))
    finally:
        hub.leave(viewer)
        sender.cancel()


async def _send_to(viewer_socket: WebSocket, viewer: Viewer) -> None:
    from starlette.websockets import WebSocketDisconnect

    with suppress(WebSocketDisconnect, RuntimeError):  # it left; whoever receives from it hears of that
        while True:
            message = await viewer.next()
            if isinstance(message, bytes):
                await viewer_socket.send_bytes(message)
            else:
                await viewer_socket.send_text(message)


def _obey(viewer: Viewer, loop: PredictionLoop, command: Command) -> None:
    if command.do == "seen":
        viewer.seen(command.serial)
    elif command.do == "start":
        loop.start()
    else:
        loop.stop()


async def _switch(viewer: Viewer, loop: PredictionLoop, command: Command) -> None:
    choice = Choice(command.bundle, command.backend, command.precision)
    try:
        await asyncio.to_thread(loop.switch, choice)
    except UvaEdgeError as error:
        viewer.refuse(f"{choice} can't be used, what ran before still runs: {error}")
    except Exception:
        _log.exception("a switch of the view failed")
        viewer.refuse(f"{choice} failed, what ran before still runs; uva-edge view printed why")


# --- running --------------------------------------------------------------------------------------------


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at an address of this machine; port 0 is any free one.

    Raises:
        OptionError: the port is in use, not permitted or none, or the address is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise OptionError(f"port must be from 0 (any free one) to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OptionError(f"host {host!r} is no address of this machine: {error.strerror or error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(64)
    except OSError as error:
        listening.close()
        mends = {
            errno.EADDRINUSE: f"port {port} is in use by another program; take another with --port, or 0 for any",
            errno.EACCES: f"port {port} is for the administrator; take one of 1024 or more with --port",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; take 127.0.0.1, or 0.0.0.0 for all",
        }
        words = mends.get(error.errno or 0, f"{host} port {port} can't be used: {error.strerror or error}")
        raise OptionError(words) from None
    return listening


def address_of(listening: socket.socket, host: str, token: str | None) -> str:
    """What to open in a browser."""
    port = listening.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{f'?token={token}' if token else ''}"


def run(
    app: ASGIApp, listening: socket.socket, *, ready: Callable[[Any], None] = lambda server: None
) -> None:
    """Serve until SIGINT or SIGTERM, or until `should_exit` of the server that `ready` is given is set."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MOST_COMMAND_BYTES,
        ws_per_message_deflate=False,  # JPEGs don't shrink
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    ready(server)
    server.run(sockets=[listening])
