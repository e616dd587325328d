"""The HTML page of a report: one file that needs no network and runs no script.

What a reader with a minute wants comes first: the verdict, what failed and why, remarks; then what was measured; then
what it was measured with.
"""

from __future__ import annotations

import base64
import hashlib
import html as escaping
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from xml.etree.ElementTree import Element

from ..elements import html, printable
from ..report import Report, WorstFrame
from .facts import facts
from .measured import measured
from .verdict import verdict


def html_page(report: Report, worst: Sequence[WorstFrame] = ()) -> str:
    """A whole page.

    Args:
        worst: frames to show as pictures; the page says which it leaves out where there are very many.
    """
    style = _template("page.css")
    sections: list[Element] = [*verdict(report), *measured(report, worst), *facts(report)]
    names = ", ".join(bundle.name for bundle in report.bundles)
    return Template(_template("page.html")).substitute(
        title=escaping.escape(printable(f"{'PASS' if report.passed else 'FAIL'}: {names}")),
        policy=_policy(style),
        style=style,
        body="\n".join(html(section) for section in sections),
    )


def _policy(style: str) -> str:
    """What a browser is to allow: this very style sheet, and the pictures inside the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _template(name: str) -> str:
    return files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")
