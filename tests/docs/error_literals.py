"""The texts that messages are made of, read from the sources: constants as they are, what is formatted as a gap."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from doc_pages import ROOT

GAP = "\0"
LEAST_SHARED = 0.6  # of a literal's words must be words of the source; the others may be what is formatted
_FOLDERS = ("uva_edge", "runtimes", "export")
_TEXTUAL = (ast.Constant, ast.JoinedStr, ast.BinOp)

Tokens = tuple[str, ...]


@functools.cache
def templates() -> frozenset[Tokens]:
    """Every text of the sources of at least two words, as tokens."""
    return frozenset(
        tokens(text)
        for folder in _FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in _texts(path)
        if " " in text
    )


def tokens(text: str) -> Tokens:
    """Words, signs and gaps."""
    return tuple(re.findall(rf"{GAP}|\w+|[^\w\s{GAP}]", text))


def of_page(literal: str) -> Tokens:
    """A literal as a page has it, where ``...`` stands for anything."""
    return tokens(re.sub(r"\.\.\.", GAP, literal))


def given_by(literal: Tokens, template: Tokens) -> bool:
    """Whether a message of this template can read so."""
    words = [word for word in literal if word.isalnum()]
    if len(set(words) & set(template)) < LEAST_SHARED * len(set(words)):
        return False
    return _shared(literal, template) >= LEAST_SHARED * len(words)


def _shared(literal: Tokens, template: Tokens) -> float:
    """The largest number of words that both have at the same place, gaps of both stretching; -inf if they can't fit."""

    @functools.cache
    def best(i: int, j: int) -> float:
        if i == len(literal) and j == len(template):
            return 0
        found = [float("-inf")]
        if i < len(literal) and literal[i] == GAP:
            found.append(best(i + 1, j))
            if j < len(template):
                found.append(best(i, j + 1))
        if j < len(template) and template[j] == GAP:
            found.append(best(i, j + 1))
            if i < len(literal):
                found.append(best(i + 1, j))
        if i < len(literal) and j < len(template) and literal[i] == template[j] != GAP:
            found.append(best(i + 1, j + 1) + literal[i].isalnum())
        return max(found)

    return best(0, 0)


def _texts(path: Path) -> list[str]:
    return [_text(node) for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, _TEXTUAL)]


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return GAP
