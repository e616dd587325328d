"""Who is let in: requests that name this machine, from the page itself, and with the token where one is needed.

- The Host header must be an address or this machine's own name: a foreign name that resolves here is DNS rebinding.
- The token comes once, as the query of the page's address; it is answered with a cookie and an address without it.
- A WebSocket is opened from a page of the same origin, or not at all.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from uva_edge.errors import OptionError

LEAST_TOKEN: Final = 16

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response."""


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """The rules for a server bound to `host`.

    Args:
        host: address or name.
        token: what opens the page; None for one that is made up, where `host` is no loopback address.

    Attributes:
        token: the one to give, or None if none is needed.

    Raises:
        OptionError: a token that is too short, or has letters that an address would change.
    """

    def __init__(self, host: str, token: str | None = None) -> None:
        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(24)
        if token is not None and not re.fullmatch(f"[A-Za-z0-9_-]{{{LEAST_TOKEN},256}}", token):
            raise OptionError(
                f"a token has {LEAST_TOKEN} to 256 letters, digits, - and _; leave it out and one is made up"
            )
        self.token = token
        name = socket.gethostname().lower()
        short = name.partition(".")[0]
        self._names = {"localhost", name, short, f"{short}.local", host.lower()}
        # Not the token itself: what a browser keeps opens this run of the server and no other.
        self._pass = secrets.token_urlsafe(24)

    def names_this_machine(self, host: str) -> bool:
        """Whether a Host header, `name[:port]`, is an address or a name of this machine's."""
        name = _name_of(host)
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def is_token(self, text: str) -> bool:
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())

    def cookie(self, port: int) -> str:
        """The Set-Cookie header of who gave the token."""
        return f"{_cookie_name(port)}={self._pass}; Path=/; HttpOnly; SameSite=Lax"

    def may_enter(self, cookies: str, port: int) -> bool:
        """Whether a Cookie header lets in; everyone may where there is no token."""
        if self.token is None:
            return True
        try:
            morsel = SimpleCookie(cookies).get(_cookie_name(port))
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self._pass.encode())


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header is that of pages from `host`, a Host header."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place != "" and place.lower() == host.lower()


def _name_of(host: str) -> str:
    """The name or address in a Host header, without port and brackets; "" where there is none."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""
    except ValueError:
        return ""


def _cookie_name(port: int) -> str:
    # Cookies are shared by the ports of a host, and another view may run there.
    return f"uva_edge_view_{port}"
