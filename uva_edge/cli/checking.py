"""`uva-edge doctor` and `uva-edge verify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import uva_edge

from .shared import json_option, make_console, print_json, table

if TYPE_CHECKING:
    from uva_edge.bundle import Bundle
    from uva_edge.runtimes.conformance import Outcome


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine offers, which backends can run, and which one would be chosen."""
    from uva_edge.bundle import Bundle, shipped_bundles
    from uva_edge.environment import probe
    from uva_edge.errors import BackendError
    from uva_edge.gpu import NO_DRIVER
    from uva_edge.runtimes.engines import with_built
    from uva_edge.runtimes.selection import select

    environment = probe()
    choices = {}
    for name in shipped_bundles():
        try:
            choices[name] = [str(line) for line in select(with_built(Bundle.shipped(name))).decisions]
        except BackendError as error:
            choices[name] = [str(error)]
    if as_json:
        print_json({"uva_edge": uva_edge.__version__, **environment.as_dict(), "selection": choices})
        return
    cpu = environment.cpu
    console = make_console()
    console.print(f"uva_edge {uva_edge.__version__}, Python {environment.python}, {environment.platform}")
    console.print(f"CPU: {cpu.model}, {cpu.cores} usable cores, ranked as {cpu.processor_class}")
    console.print(f"features: {' '.join(cpu.features) or 'none known'}")
    console.print(f"GPU: {environment.gpu}")
    if not environment.gpu.usable and environment.gpu != NO_DRIVER:
        console.print(f"  {environment.gpu.problem}; {environment.gpu.fix}")
    rows = [
        (name, engine.status, engine.version or "", f"{engine.reason}{engine.fix and '; ' + engine.fix}")
        for name, engine in environment.engines.items()
    ]
    console.print(table(("engine", "status", "version", "why, and how to mend it"), rows))
    for name, lines in _told_once(choices).items():
        console.print(f"{name}:", *lines, sep="\n  ", markup=False)


def _told_once(choices: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same lines, those that hold for every bundle under a name of their own: most have their reason in the
    machine."""
    shared = [
        line for line in next(iter(choices.values()), []) if all(line in other for other in choices.values())
    ]
    apart = {name: [line for line in lines if line not in shared] for name, lines in choices.items()}
    return {name: lines for name, lines in {"every bundle": shared, **apart}.items() if lines}


@click.command()
@click.argument("bundle")
@click.option("--threads", default=1, show_default=True, help="Threads of the engines.")
@json_option
def verify(bundle: str, threads: int, as_json: bool) -> None:
    """Check BUNDLE here: its files against their hashes, its golden clip on every backend that runs."""
    from uva_edge.bundle import Bundle
    from uva_edge.runtimes import conformance
    from uva_edge.runtimes.engines import with_built

    opened = with_built(Bundle.open(bundle))
    outcomes = conformance.verify(opened, threads=threads)
    passed = conformance.passed(outcomes)
    if as_json:
        print_json(
            {
                "bundle": opened.name,
                "sha256": opened.sha256,
                "passed": passed,
                "cases": [outcome.as_dict() for outcome in outcomes],
            }
        )
    else:
        _print_outcomes(opened, outcomes, passed)
    sys.exit(0 if passed else 1)


def _print_outcomes(bundle: Bundle, outcomes: list[Outcome], passed: bool) -> None:
    rows = []
    for outcome in outcomes:
        errors = outcome.errors
        figures = (
            (f"{errors.max_abs_map:.1e}", f"{errors.max_abs_state:.1e}", f"{errors.min_cc:.6f}")
            if errors
            else ("", "", "")
        )
        rows.append((str(outcome.case), outcome.status, *figures))
    console = make_console()
    console.print(table(("case", "status", "map error", "state error", "CC"), rows))
    for outcome in outcomes:
        if outcome.status == "FAIL":
            console.print(f"{outcome.case}: FAIL, {outcome.message}", markup=False)
    # Whole backends are skipped, or artifacts for another device: their cases have one reason.
    skipped = {(item.case.backend, item.message): None for item in outcomes if item.status == "SKIPPED"}
    for backend, message in skipped:
        console.print(f"{backend}: SKIPPED, {message}", markup=False)
    console.print("errors are the largest of the clip, CC the smallest", style="dim")
    console.print(f"{bundle.name} ({bundle.sha256[:12]}): {'PASS' if passed else 'FAIL'}")
