"""Numbers and words as C: arrays, literals, strings, comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

_LINE: Final = 112
_COMMENT: Final = 110


def array(kind: str, name: str, values: NDArray[Any]) -> str:
    """A constant array of a file's own."""
    show = literal if kind == "float" else str
    lines, line = [], "   "
    for text in (show(value) for value in values.reshape(-1).tolist()):
        if len(line) + len(text) + 2 > _LINE:
            lines.append(line)
            line = "   "
        line += f" {text},"
    lines.append(line)
    body = "\n".join(lines)
    return f"static const {kind} {name}[{values.size}] = {{\n{body}\n}};\n"


def literal(value: float) -> str:
    """A float that reads as the same float."""
    return f"{value:.8e}f"  # nine digits tell all floats apart; numpy's shortest take ten times as long


def string(text: str) -> str:
    """A string literal; what a bundle's name or a hash can't have becomes an underscore."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "_", text)
    return f'"{cleaned}"'


def comment(lines: Sequence[str]) -> str:
    """Lines of any text, wrapped; none of it ends the comment, starts another or is a trigraph."""
    wrapped = []
    for line in lines:
        printable = "".join(letter if letter.isprintable() else " " for letter in line)
        harmless = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", printable)
        wrapped += textwrap.wrap(harmless, _COMMENT - len("   ") - len(" */"))
    return "/* " + "\n   ".join(wrapped) + " */\n" if wrapped else ""
