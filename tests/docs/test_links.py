"""Links, anchors and the files of this repository that pages name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, anchors, label, prose

FOLDERS = (
    "benchmarks",
    "docs",
    "examples",
    "export",
    "profiles",
    "recipes",
    "runtimes",
    "tests",
    "uva_edge",
    "src",
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), f"{label(page)}: {target}"
            assert not anchor or anchor in anchors(there), f"{label(page)}: no heading for {target}"


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_files_that_are_named_exist(page: Path) -> None:
    """What is in backticks and begins with a folder of the repository; `*` and `{a,b}` stand for several."""
    for text in re.findall(r"`([^`\n]+)`", prose(page)):
        for word in re.findall(r"(?:^|\s)([\w.-]+/[\w./*-]+)", text):
            path = word.split(":")[0].rstrip(".,")
            if path.split("/")[0] in FOLDERS:
                assert any(ROOT.glob(path.rstrip("/"))), f"{label(page)}: {path}"


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = (link.partition("#")[0] for link in LINK.findall(prose(page)) if "://" not in link)
            waiting += [(page.parent / link).resolve() for link in links if link.endswith(".md")]
    assert set(PAGES) <= reached, sorted(label(page) for page in set(PAGES) - reached)


def test_the_readme_lists_every_page_of_docs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in text, page.name
