"""Chromium for tests of pages: a node process that drives it (browser.mjs), and a server of static files."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

DRIVER: Final = Path(__file__).with_name("browser.mjs")
ISOLATION: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""Headers of a page that may have threads."""


class BrowserError(Exception):
    """What Playwright or a page's script says went wrong."""


class Browser:
    """One Chromium with one page at a time."""

    def __init__(self, project: Path, chromium: str, flags: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            ["node", str(DRIVER), str(project), chromium, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def new_page(self, permissions: Sequence[str] = (), **options: Any) -> None:
        """A fresh profile with one empty page; `options` as Playwright's newContext has them."""
        self._call("context", options=options, permissions=list(permissions))

    def goto(self, url: str) -> None:
        self._call("goto", url=url)

    def evaluate(self, script: str, argument: object = None) -> Any:
        """The value, or what the promise resolves to, of a JavaScript function of one argument."""
        return self._call("evaluate", script=script, argument=argument)

    def wait(self, script: str, seconds: float = 120) -> Any:
        """The first value of that JavaScript function that is true."""
        return self._call("wait", script=script, seconds=seconds)

    def choose(self, selector: str, path: Path) -> None:
        """Put a file into a file input."""
        self._call("choose", selector=selector, path=str(path))

    def press(self, key: str) -> None:
        self._call("press", key=key)

    def screenshot(self, path: Path, size: tuple[int, int]) -> None:
        """The whole page at that width, as PNG."""
        self._call("size", width=size[0], height=size[1])
        self._call("screenshot", path=str(path))

    def said(self) -> list[str]:
        """Lines of the page's console since it was made, and errors that nothing caught."""
        lines: list[str] = self._call("said")
        return lines

    def asked(self) -> list[str]:
        """URLs of all that was requested since the page was made, by it and its workers."""
        urls: list[str] = self._call("asked")
        return urls

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _call(self, command: str, **given: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BrowserError("the driver of Chromium ended; its error is on stderr")
        answer = json.loads(line)
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["value"]


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map: dict[str, str] = {  # noqa: RUF012 - the name that the base class has
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }
    headers_to_send: Mapping[str, str]

    def __init__(self, *arguments: Any, headers: Mapping[str, str], directory: str) -> None:
        self.headers_to_send = headers
        super().__init__(*arguments, directory=directory)

    def end_headers(self) -> None:
        for name, value in self.headers_to_send.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return None


@contextmanager
def served(folder: Path, headers: Mapping[str, str]) -> Iterator[str]:
    """The URL of the folder on a port of this machine, until the block ends."""
    handler = partial(_Handler, headers=headers, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
