"""The protocol: commands from anyone, pictures for the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge.errors import OptionError
from uva_edge.runtimes.view.protocol import MOST_COMMAND_BYTES, Command, picture_message, read_command

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_commands_are_read() -> None:
    assert read_command('{"do": "start"}') == Command("start")
    assert read_command('{"do": "seen", "serial": 7}').serial == 7
    switch = '{"do": "switch", "bundle": "uva-32", "backend": "auto", "precision": "int8"}'
    assert read_command(switch) == Command("switch", "uva-32", "auto", "int8")


@pytest.mark.parametrize(
    "text",
    [
        None,
        b'{"do": "start"}',
        "",
        "start",
        "[]",
        '{"do": "reboot"}',
        '{"do": "start", "path": "/etc/passwd"}',
        '{"do": "start", "do": "stop"}',
        '{"do": "seen", "serial": 0}',
        '{"do": "seen", "serial": 1e999}',
        '{"do": "seen", "serial": 99999999999999999999999}',
        '{"do": "switch", "bundle": ["uva-32"]}',
        '{"do": "switch", "bundle": "\\ud800"}',
        "[" * 4000,
        " " * (MOST_COMMAND_BYTES + 1),
    ],
)
def test_what_is_no_command_is_refused(text: Any) -> None:
    with pytest.raises(OptionError, match="command"):
        read_command(text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.text() | st.binary() | JSON.map(lambda value: json.dumps({"do": value})) | JSON.map(json.dumps))
def test_whatever_comes_is_a_command_or_an_option_error(text: Any) -> None:
    try:
        read_command(text)
    except OptionError as error:
        words = str(error)
    else:
        words = ""
    assert len(words) < 500


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine proves nothing
@given(st.lists(st.binary(max_size=50), max_size=4), st.text())
def test_a_picture_message_can_be_taken_apart(parts: list[bytes], name: str) -> None:
    message = picture_message({"name": name}, parts)
    length = int.from_bytes(message[:4], "big")
    header = json.loads(message[4 : 4 + length])
    assert header == {"name": name, "parts": [len(part) for part in parts]}
    assert message[4 + length :] == b"".join(parts)


def test_a_picture_message_holds_no_nan(taken_apart: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        picture_message({"fps": float("nan")}, [])
    assert taken_apart(picture_message({"fps": 1.0}, [b"x"]))[1] == [b"x"]
