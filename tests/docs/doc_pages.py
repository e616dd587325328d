"""The pages of the project, and what is in them: fenced blocks, shell commands, headings, links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
)


@dataclass(frozen=True)
class Command:
    """One program with its words, as a page shows it; `line` is the whole line that it stands in."""

    page: Path
    line: str
    words: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """Words that begin with two dashes, without a value that is joined to them."""
        return tuple(word.split("=")[0] for word in self.words if re.match(r"--\w", word))


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The contents of the fenced blocks of that language, in their order."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[Command]:
    """What the `sh` blocks of a page run: pipes and `&&` taken apart, without comments and `NAME=value` in front."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            lexer.commenters = "#"
            words: list[str] = []
            for word in (*lexer, ";"):
                if set(word) <= set("|&;"):
                    if words:
                        found.append(Command(page, line.strip(), tuple(words)))
                    words = []
                elif words or not re.match(r"[A-Z_]+=", word):
                    words.append(word)
    return found


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
