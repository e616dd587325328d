"""What goes over the WebSocket.

To a viewer: a picture as one binary message (four bytes, big-endian, the length of a JSON header; the header; its
`parts`, JPEGs one after the other), everything else as JSON text with its `type`: `status` or `error`.

From a viewer: commands, JSON text such as ``{"do": "switch", "bundle": "uva-32", "backend": "auto", "precision":
"auto"}``. They are untrusted: what is not exactly a command is an error, told in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from uva_edge.errors import ManifestError, OptionError
from uva_edge.strict_json import OPTIONAL, Size, decode, parse

MOST_COMMAND_BYTES: Final = 4096


@dataclass(frozen=True)
class Command:
    """`seen` acknowledges the picture of that serial number; `switch` names the three."""

    do: Literal["start", "stop", "switch", "seen"]
    bundle: str = field(default="", metadata=OPTIONAL)
    backend: str = field(default="", metadata=OPTIONAL)
    precision: str = field(default="", metadata=OPTIONAL)
    serial: Size = field(default=1, metadata=OPTIONAL)


def read_command(text: str | bytes | None) -> Command:
    """Raises OptionError for whatever is no command."""
    if not isinstance(text, str) or len(text) > MOST_COMMAND_BYTES:
        raise OptionError(f"a command is JSON text of at most {MOST_COMMAND_BYTES} characters")
    try:
        command: Command = decode(Command, parse(text.encode("utf-8", "replace")))
    except ManifestError as error:
        raise OptionError(f"this is no command: {error}") from None
    return command


def picture_message(header: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """The header gets the lengths of the parts as `parts`."""
    text = json.dumps({**header, "parts": [len(part) for part in parts]}, allow_nan=False).encode()
    return b"".join((len(text).to_bytes(4, "big"), text, *parts))


def status_message(facts: Mapping[str, Any]) -> str:
    return json.dumps({"type": "status", **facts}, allow_nan=False)


def error_message(words: str) -> str:
    return json.dumps({"type": "error", "message": words})
