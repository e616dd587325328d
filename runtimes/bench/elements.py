"""HTML and SVG as trees of elements. What is not an element is text, and is escaped when the tree is written: there is
no other way into a page, so the names and messages of a report can't be markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child: TypeAlias = "Element | str"


def element(tag: str, attributes: Mapping[str, str] | None = None, /, *children: Child) -> Element:
    """An element with these children, in order."""
    made = Element(tag, {name: printable(value) for name, value in (attributes or {}).items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + printable(child)
        else:
            last.tail = (last.tail or "") + printable(child)
    return made


def styled(tag: str, style: str, /, *children: Child) -> Element:
    """An element of a class of the style sheet."""
    return element(tag, {"class": style}, *children)


def table(header: Sequence[Child], rows: Iterable[Sequence[Child]], style: str = "") -> Element:
    """A table that scrolls sideways where it is too wide, or stacks its cells in the style ``stacked``; the first cell
    of a row is its heading."""
    head = element(
        "thead", {}, element("tr", {}, *(element("th", {"scope": "col"}, name) for name in header))
    )
    names = [name if isinstance(name, str) else "".join(name.itertext()) for name in header[1:]]
    body = element("tbody")
    for first, *rest in rows:
        cells = (element("td", {"data-column": name}, cell) for name, cell in zip(names, rest, strict=True))
        body.append(element("tr", {}, element("th", {"scope": "row"}, first), *cells))
    return element(
        "div", {"class": f"wide {style}".strip(), "tabindex": "0"}, element("table", {}, head, body)
    )


def html(made: Element) -> str:
    return ElementTree.tostring(made, encoding="unicode", method="html")


def printable(text: str) -> str:
    """`text` in one line and without what a terminal, XML or a reader's eye could be misled by: control characters,
    marks that reverse the direction of writing, halves of surrogate pairs."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )
