"""`uva-edge bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uva_edge.errors import OptionError

from .result_tables import print_results
from .shared import json_option, make_console, parse_size

if TYPE_CHECKING:
    from uva_edge.runtimes.bench.profile import Floors
    from uva_edge.runtimes.bench.report import Report, WorstFrame

    from .bench_run import Asked

CHECKS = ("golden", "task", "speed")
_FLOORS = {
    "min_fps": "Frames a second, camera frame to peaks, at least.",
    "max_p99_ms": "Milliseconds that 99 of 100 frames may take, at most.",
    "max_first_frame_ms": "Milliseconds of a stream's first frame, at most.",
    "max_rss_mb": "Peak memory of the process in MB, at most.",
    "max_joules_per_frame": "Energy of the processor package, at most.",
    "min_nss": "NSS on the labelled footage, at least.",
}


def _floor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, words in reversed(_FLOORS.items()):
        command = click.option(f"--{name.replace('_', '-')}", type=float, help=f"Floor. {words}")(command)
    return command


@click.command()
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...")
@click.option(
    "--only",
    "checks",
    multiple=True,
    type=click.Choice(CHECKS),
    help="What to check; may be repeated. Default: all three.",
)
@click.option(
    "--backend", "backends", multiple=True, help="May be repeated. Default: all; auto: the chosen one."
)
@click.option("--precision", "precisions", multiple=True, help="May be repeated. Default: all there are.")
@click.option(
    "--threads",
    type=int,
    multiple=True,
    help="Of an engine; may be repeated. Default: 1, and what is usable up to 4.",
)
@click.option(
    "--batch",
    "lengths",
    type=int,
    multiple=True,
    help="Frames a call when timed; may be repeated. Default: 1.",
)
@click.option("--color", default="bgr", show_default=True, help="Frame format of the camera that is timed.")
@click.option("--size", default="1920x1080", show_default=True, help="Its frames, WIDTHxHEIGHT.")
@click.option("--seconds", default=2.0, show_default=True, help="Of each timed case, after the warm-up.")
@click.option(
    "--data",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="Labelled footage, as for evaluate. Default: drawn.",
)
@click.option("--split", default="val", show_default=True, help="Of --data.")
@_floor_options
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Device profile (TOML): what is asked of the device."
)
@click.option("--report", "report_path", type=click.Path(path_type=Path), help="Write the report as JSON.")
@click.option("--html", type=click.Path(path_type=Path), help="Write it as one page with pictures.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write it as JUnit XML.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write it as CSV, a row a case.")
@click.option(
    "--compare",
    type=(click.Path(path_type=Path), click.Path(path_type=Path)),
    metavar="BEFORE AFTER",
    help="Compare two reports (JSON) instead of running.",
)
@click.option(
    "--max-slowdown",
    default=1.1,
    show_default=True,
    help="With --compare: a ratio of times that is no regression.",
)
@json_option
def bench(
    bundles: tuple[str, ...],
    compare: tuple[Path, Path] | None,
    max_slowdown: float,
    report_path: Path | None,
    html: Path | None,
    junit: Path | None,
    csv: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check and time BUNDLE (default: uva-64) on this device, in every backend that runs here.

    The golden clip against its reference, scores on labelled footage, and speed from a camera's frame to the peaks of
    its map. Exit code 0 if all that was checked passed, else 1. With --profile the floors of a device decide, on the
    one case that it names.
    """
    if compare is not None:
        _compare(*compare, max_slowdown, as_json)
        return
    from .bench_run import run

    asked = _asked(bundles, options)
    with _progress() as tell:
        report, worst = run(asked, tell, pictures=html is not None)
    _write(report, worst, {report_path: "json", html: "html", junit: "junit", csv: "csv"})
    if as_json:
        click.echo(report.to_json())
    else:
        print_results(report.results)
        for remark in report.remarks:
            click.echo(remark)
        click.echo(_verdict(report))
    sys.exit(0 if report.passed else 1)


def _asked(bundles: tuple[str, ...], options: dict[str, Any]) -> Asked:
    """The options, or what a profile says in their place."""
    from uva_edge.runtimes.bench.profile import Floors, read_profile
    from uva_edge.runtimes.conformance import default_threads

    from .bench_run import Asked

    floors = Floors(**{name: options.pop(name) for name in _FLOORS})
    path: Path | None = options.pop("profile")
    data = {"specs": options["specs"], "split": options["split"]}
    if path is not None:
        if bundles or any(
            options[name] for name in ("checks", "backends", "precisions", "threads", "lengths")
        ):
            raise OptionError(
                "--profile says bundle, backend, precision, threads and checks; leave these options out"
            )
        profile = read_profile(path)
        return Asked(
            bundles=(profile.bundle,),
            checks=CHECKS,
            backends=(profile.backend,),
            precisions=(profile.precision,),
            threads=(profile.threads,),
            lengths=(1,),
            color=profile.color,
            size=profile.size,
            seconds=options["seconds"],
            floors=_stricter(profile.floors, floors),
            profile=profile.name,
            **data,
        )
    return Asked(
        bundles=bundles or ("uva-64",),
        checks=options["checks"] or CHECKS,
        backends=options["backends"],
        precisions=options["precisions"],
        threads=options["threads"] or default_threads(),
        lengths=options["lengths"] or (1,),
        color=options["color"],
        size=parse_size(options["size"]),
        seconds=options["seconds"],
        floors=floors,
        profile=None,
        **data,
    )


def _stricter(profile: Floors, given: Floors) -> Floors:
    """A floor on the command line takes the place of the profile's."""
    return replace(profile, **{name: value for name, value in vars(given).items() if value is not None})


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """The case in hand, on standard error."""
    console = make_console(stderr=True)
    with console.status("starting") as status:
        yield lambda text: status.update(text)


def _write(report: Report, worst: list[WorstFrame], places: dict[Path | None, str]) -> None:
    from uva_edge.runtimes.bench.formats import csv_rows, junit
    from uva_edge.runtimes.bench.html.page import html_page
    from uva_edge.whole_files import replace_file

    makers: dict[str, Callable[[], str]] = {
        "json": report.to_json,
        "html": lambda: html_page(report, worst),
        "junit": lambda: junit(report),
        "csv": lambda: csv_rows(report),
    }
    for path, form in places.items():
        if path is not None:
            replace_file(path, makers[form]().encode())
            click.echo(str(path), err=True)


def _compare(before: Path, after: Path, max_slowdown: float, as_json: bool) -> None:
    from uva_edge.runtimes.bench.compare import compare_reports
    from uva_edge.runtimes.bench.compare_text import comparison_text
    from uva_edge.runtimes.bench.report import read_report

    comparison = compare_reports(read_report(before), read_report(after), max_slowdown)
    click.echo(comparison.to_json() if as_json else comparison_text(comparison))
    sys.exit(1 if comparison.regressed else 0)


def _verdict(report: Report) -> str:
    if report.passed:
        return "PASS"
    failed = any(result.status == "FAIL" for result in report.results)
    return "FAIL" if failed else "FAIL: nothing was checked"
