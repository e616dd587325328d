"""`uva-edge doctor` and `uva-edge verify`."""

from __future__ import annotations

import sys

import click

import uva_edge

from .result_tables import print_results
from .shared import json_option, make_console, print_json, table


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
@click.option(
    "--threads",
    type=int,
    multiple=True,
    help="Of the engines; may be repeated. Default: 1, and all usable up to 4.",
)
@json_option
def verify(bundle: str, threads: tuple[int, ...], as_json: bool) -> None:
    """Check BUNDLE here: its files against their hashes, its golden clip on every backend that runs."""
    from uva_edge.bundle import Bundle
    from uva_edge.runtimes import conformance
    from uva_edge.runtimes.bench.golden import golden_result
    from uva_edge.runtimes.engines import with_built

    opened = with_built(Bundle.open(bundle))
    outcomes = conformance.verify(opened, threads=threads or conformance.default_threads())
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
        print_results([golden_result(opened, outcome) for outcome in outcomes])
        console = make_console()
        console.print("figures are the worst of all frames and cases", style="dim")
        console.print(f"{opened.name} ({opened.sha256[:12]}): {'PASS' if passed else 'FAIL'}")
    sys.exit(0 if passed else 1)
