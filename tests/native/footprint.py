"""What a model takes on a target: flash, memory, and stack along the deepest chain of calls."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from targets import ProgramError, Target, compile_object, sections

from uva_edge.runtimes.native.source import Source


@dataclass(frozen=True)
class Footprint:
    """Bytes. `flash` is code and constants; `stack` without what memcpy and memset take."""

    flash: int
    variables: int
    state: int
    arena: int
    stack: int


def footprint(target: Target, source: Source, folder: Path, level: str) -> Footprint:
    """Of a source that is compiled with GCC, which tells who calls whom."""
    source.write(folder)
    path = folder / f"{source.stem}.c"
    obj = compile_object(target, path, folder, (level, "-fcallgraph-info=su"))
    found = sections(target, obj)
    memory = {
        what: int(re.findall(rf"^#define {source.stem.upper()}_{what}_BYTES (\d+)$", source.header, re.M)[0])
        for what in ("STATE", "ARENA")
    }
    stack = deepest(obj.with_suffix(".ci").read_text("utf-8"))
    return Footprint(found.text + found.data, found.data + found.bss, memory["STATE"], memory["ARENA"], stack)


def deepest(graph: str) -> int:
    """Bytes of stack along the deepest chain of a call graph of GCC (-fcallgraph-info=su).

    Raises:
        ProgramError: there is no such number: a function calls itself, or its frame has no fixed size.
    """
    frames: dict[str, int] = {}
    for name, label in re.findall(r'^node: { title: "([^"]+)" label: "([^"]+)"', graph, re.MULTILINE):
        size = re.search(r"\\n(\d+) bytes \((.*?)\)", label)
        if size is None:
            continue  # of another file
        if size[2] not in ("static", "dynamic,bounded"):
            raise ProgramError(f"the stack frame of {name} is {size[2]}")
        frames[name] = int(size[1])
    calls: dict[str, set[str]] = defaultdict(set)
    for caller, callee in re.findall(
        r'^edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', graph, re.MULTILINE
    ):
        calls[caller].add(callee)
        if callee == "__indirect_call":
            raise ProgramError(f"{caller} calls by a pointer")

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ProgramError(f"{name} calls itself, by {' > '.join(above)}")
        below = [depth(callee, (*above, name)) for callee in calls[name]]
        return frames.get(name, 0) + max(below, default=0)

    if not frames:
        raise ProgramError("the call graph has no functions")
    return max(depth(name, ()) for name in frames)
