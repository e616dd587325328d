"""Access: names, tokens, cookies and origins."""

from __future__ import annotations

import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge.errors import OptionError
from uva_edge.runtimes.view.access import HEADERS, LEAST_TOKEN, Access, is_loopback, same_origin

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Access(host).token is None
    assert Access(host).may_enter("", 8080)
    assert Access(host, TOKEN).token == TOKEN
    assert not Access(host, TOKEN).may_enter("", 8080)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "board.local", "localhost.evil.example"])
def test_any_other_address_needs_one(host: str) -> None:
    first, second = Access(host), Access(host)
    assert first.token
    assert second.token
    assert first.token != second.token
    assert len(first.token) >= 32
    assert not first.may_enter("", 8080)
    assert Access(host, TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "token",
    ["", "short", "x" * (LEAST_TOKEN - 1), "with spaces in it ok", "ümlaute-sind-keine-gut", "a" * 257],
)
def test_a_poor_token_is_refused(token: str) -> None:
    with pytest.raises(OptionError, match="letters, digits"):
        Access("0.0.0.0", token)


def test_names_of_this_machine() -> None:
    access = Access("board.lan", TOKEN)
    name = socket.gethostname()
    ours = [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.168.1.5",
        "board.lan:80",
        name,
        f"{name}.local:8080",
    ]
    for host in ours:
        assert access.names_this_machine(host), host
    foreign = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
    foreign += ["", ":8080", "a@127.0.0.1", "127.0.0.1/x", "127.0.0.1#", "[::1", "1.2.3.4.5"]
    foreign += ["localhost@evil.example", "localhost:8080@evil.example"]
    for host in foreign:
        assert not access.names_this_machine(host), host


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.text(max_size=40))
def test_any_host_header_is_decided(host: str) -> None:
    assert Access("127.0.0.1").names_this_machine(host) in (True, False)


def test_only_the_token_is_the_token() -> None:
    access = Access("0.0.0.0", TOKEN)
    assert access.is_token(TOKEN)
    for other in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 22):
        assert not access.is_token(other)
    assert not Access("127.0.0.1").is_token("")


def test_the_cookie_lets_in_and_is_not_the_token() -> None:
    access = Access("0.0.0.0", TOKEN)
    cookie = access.cookie(8080)
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    pair = cookie.partition(";")[0]
    assert access.may_enter(pair, 8080)
    assert access.may_enter(f"other=1; {pair}", 8080)
    assert not access.may_enter(pair, 8081), "another view on this host"
    assert not Access("0.0.0.0", TOKEN).may_enter(pair, 8080), "another run"
    assert not access.may_enter(f"uva_edge_view_8080={TOKEN}", 8080)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.text(max_size=80))
def test_no_other_cookie_lets_in(cookies: str) -> None:
    assert not Access("0.0.0.0", TOKEN).may_enter(cookies, 8080)


def test_origins() -> None:
    assert same_origin("http://localhost:8080", "localhost:8080")
    assert same_origin("https://Board.local", "board.local")
    for origin in (
        "",
        "null",
        "http://",
        "http://localhost",
        "http://localhost:8081",
        "http://evil.example:8080",
        "file://localhost:8080",
    ):
        assert not same_origin(origin, "localhost:8080"), origin
    assert not same_origin("http://", "")


def test_nothing_may_be_loaded_from_elsewhere() -> None:
    policy = dict(item.strip().split(" ", 1) for item in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {value for name, value in policy.items() if name != "default-src"} <= {"'self'", "'none'"}
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
