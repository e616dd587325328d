"""The command `uva-edge`.

Results go to standard output (one JSON document with ``--json``), progress and remarks to standard error. Exit
codes: 0 done; 1 an error, told in one message; 2 wrong usage; 3 done, but the source was damaged; 130 Ctrl-C,
with what was finished until then complete on disk.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

import uva_edge
from uva_edge.errors import MissingPackageError, OptionError, UvaEdgeError

if TYPE_CHECKING:
    from rich.console import Console

    from uva_edge.bundle import Bundle
    from uva_edge.runtimes import SaliencyPredictor
    from uva_edge.runtimes.conformance import Outcome
    from uva_edge.runtimes.processing import Progress, Report
    from uva_edge.runtimes.sources import Source
    from uva_edge.runtimes.writers import Writer

EXIT_DAMAGED_SOURCE = 3
EXIT_INTERRUPTED = 130
_SAVES = ("video", "csv", "npy", "png")

Command = TypeVar("Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Tells an error of uva_edge in its own words, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UvaEdgeError as error:
            _fail(str(error))
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


def _fail(message: str) -> NoReturn:
    click.echo(f"uva-edge: {message}", err=True)
    sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(uva_edge.__version__, package_name="uva-edge")
def main() -> None:
    """Video saliency on the edge: where people would look in a video, per frame."""
    # A service manager's stop ends a run as Ctrl-C does: with complete outputs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def predictor_options(command: Command) -> Command:
    """The options of every command that predicts."""
    for option in (
        click.option("--threads", default=1, show_default=True, help="Threads of the engine."),
        click.option(
            "--precision", default="auto", show_default=True, help="auto, fp32, fp16, bf16 or int8."
        ),
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            help="auto, fastest (measures here and remembers), onnxruntime, openvino or torch.",
        ),
        click.option(
            "--bundle", default="uva-64", show_default=True, help="Shipped name, directory or .zip."
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@main.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True)
@click.option("--seconds", default=12.0, show_default=True, help="Length of the flight.")
@click.option("--size", default="960x540", show_default=True, help="Frame size, WIDTHxHEIGHT.")
@click.option("--seed", default=7, show_default=True, help="Another seed is another landscape.")
@predictor_options
@json_option
def demo(output: Path, seconds: float, size: str, seed: int, as_json: bool, **options: Any) -> None:
    """Render a synthetic drone flight, predict it, and write a video and a contact sheet."""
    from uva_edge.demo import FPS, run_demo

    frames = round(seconds * FPS)
    if not 1 <= frames <= 100_000:
        raise OptionError(f"--seconds must be from {1 / FPS} to 4000, got {seconds}")
    with _predictor(options) as predictor, _progress_bar("flight") as progress:
        result = run_demo(
            predictor, output, frames=frames, size=_parse_size(size), seed=seed, progress=progress
        )
    _finish(predictor, result.report, as_json, extra=[result.sheet])


@main.command()
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Directory of the results  [default: out/SOURCE]"
)
@click.option(
    "--save",
    default="video,csv",
    show_default=True,
    help="What to write, of video (overlay.mp4, or overlay.png of an image), csv (peaks), npy (all maps in one "
    "array), png (one map a file).",
)
@click.option("--max-frames", type=int, help="Stop after so many frames.")
@click.option("--peaks", default=3, show_default=True, help="Peaks per frame, in the table and ringed.")
@click.option("--alpha", default=0.5, show_default=True, help="Opacity of the heat, 0 to 1.")
@predictor_options
@json_option
def predict(
    source: str,
    output: Path | None,
    save: str,
    max_frames: int | None,
    peaks: int,
    alpha: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the saliency of SOURCE.

    SOURCE is a video, an image, a folder of images, a camera number, or a URL such as rtsp://... .
    """
    from uva_edge.runtimes.processing import process
    from uva_edge.runtimes.sources import open_source

    with _predictor(options) as predictor, open_source(source, max_frames=max_frames) as frames:
        directory = output or Path("out") / _stem(frames)
        writers = _writers(frames, directory, save, peaks=peaks, alpha=alpha)
        with predictor.stream() as stream, _progress_bar(frames.name) as progress:
            report = process(frames, stream.push, writers, progress=progress)
    _finish(predictor, report, as_json)


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine offers, which backends can run, and which one would be chosen."""
    from uva_edge.bundle import Bundle, shipped_bundles
    from uva_edge.environment import probe
    from uva_edge.errors import BackendError
    from uva_edge.runtimes.selection import select

    environment = probe()
    choices = {}
    for name in shipped_bundles():
        try:
            choices[name] = [str(line) for line in select(Bundle.shipped(name)).decisions]
        except BackendError as error:
            choices[name] = [str(error)]
    if as_json:
        _print_json({"uva_edge": uva_edge.__version__, **environment.as_dict(), "selection": choices})
        return
    cpu = environment.cpu
    console = _console()
    console.print(f"uva_edge {uva_edge.__version__}, Python {environment.python}, {environment.platform}")
    console.print(f"CPU: {cpu.model}, {cpu.cores} usable cores, ranked as {cpu.processor_class}")
    console.print(f"features: {' '.join(cpu.features) or 'none known'}")
    console.print(f"GPU: {', '.join(environment.gpus) or 'none'}, driver: {environment.gpu_driver or 'none'}")
    rows = [
        (name, engine.status, engine.version or "", f"{engine.reason}{engine.fix and '; ' + engine.fix}")
        for name, engine in environment.engines.items()
    ]
    console.print(_table(("engine", "status", "version", "why, and how to mend it"), rows))
    for name, lines in choices.items():
        console.print(f"{name}:", *lines, sep="\n  ", markup=False)


@main.command()
@click.argument("bundle")
@click.option("--threads", default=1, show_default=True, help="Threads of the engines.")
@json_option
def verify(bundle: str, threads: int, as_json: bool) -> None:
    """Check BUNDLE here: its files against their hashes, its golden clip on every backend that runs."""
    from uva_edge.bundle import Bundle
    from uva_edge.runtimes import conformance

    opened = Bundle.open(bundle)
    outcomes = conformance.verify(opened, threads=threads)
    passed = conformance.passed(outcomes)
    if as_json:
        _print_json(
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
    console = _console()
    console.print(_table(("case", "status", "map error", "state error", "CC"), rows))
    for outcome in outcomes:
        if outcome.status != "PASS":
            console.print(f"{outcome.case}: {outcome.status}, {outcome.message}", markup=False)
    console.print("errors are the largest of the clip, CC the smallest", style="dim")
    console.print(f"{bundle.name} ({bundle.sha256[:12]}): {'PASS' if passed else 'FAIL'}")


@main.command()
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Root of images.csv, clips.csv, ..."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the run.")
@click.option("--resolution", default=64, show_default=True, help="32, 64, 96, 128 or 256.")
@click.option("--steps", default=4500, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Threads of torch.")
@click.option("--compile/--eager", "compiled", default=True, show_default=True, help="Use torch.compile.")
@click.option("--teacher", default="", help="What made the teacher maps of the data, for the lineage.")
def train(
    data: Path,
    output: Path,
    resolution: int,
    steps: int,
    seed: int,
    threads: int,
    compiled: bool,
    teacher: str,
) -> None:
    """Train on still images with fixations and clips with teacher maps; writes checkpoint.safetensors."""
    with _needs("train"):
        from uva_edge.training.command import train_on
        from uva_edge.training.loop import Progress as Step

    def report(now: Step) -> None:
        remaining = (now.steps - now.step) / max(now.steps_per_second, 1e-9)
        scores = ", ".join(f"{name} {value:.3f}" for name, value in now.scores.items())
        click.echo(
            f"step {now.step}/{now.steps}  loss {now.loss:.4f}  val {scores}  "
            f"{now.steps_per_second:.2f} steps/s  {remaining / 60:.0f} min left",
            err=True,
        )

    train_on(
        data,
        output,
        resolution=resolution,
        steps=steps,
        seed=seed,
        threads=threads,
        compiled=compiled,
        teacher=teacher,
        report=report,
    )
    click.echo(str(output / "checkpoint.safetensors"))


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Root of images.csv, clips.csv, ..."
)
@click.option("--split", default="val", show_default=True)
@json_option
def evaluate(checkpoint: Path, data: Path, split: str, as_json: bool) -> None:
    """Score CHECKPOINT on human fixations (stills) and on the teacher's maps (clips)."""
    with _needs("train"):
        from uva_edge.training.command import evaluate_checkpoint
    scores = evaluate_checkpoint(checkpoint, data, split)
    if as_json:
        _print_json(scores)
        return
    rows = [
        (name, metric, f"{value:.4f}")
        for name, metrics in scores.items()
        for metric, value in metrics.items()
    ]
    _console().print(_table(("data", "metric", "value"), rows))


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the bundle."
)
@click.option("--name", help="Name of the bundle  [default: the directory's]")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Score the checkpoint on this data's val split too."
)
def export(checkpoint: Path, output: Path, name: str | None, data: Path | None) -> None:
    """Make the bundle of CHECKPOINT: ONNX artifacts, run and compared before anything is written."""
    with _needs("export"):
        from uva_edge.export.bundles import export_bundle
    accuracy = None
    if data is not None:
        with _needs("train"):
            from uva_edge.training.command import evaluate_checkpoint
        accuracy = evaluate_checkpoint(checkpoint, data, "val")
    bundle = export_bundle(checkpoint, output, name=name or output.resolve().name, accuracy=accuracy)
    click.echo(bundle.location)


# --- shared ---------------------------------------------------------------------------------------------


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    """An import that only an extra brings."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, UvaEdgeError):
            raise
        raise MissingPackageError(
            f"this command needs the package {error.name}, which is not installed; pip install 'uva-edge[{extra}]'"
        ) from None


def _predictor(options: dict[str, Any]) -> SaliencyPredictor:
    from uva_edge.runtimes import SaliencyPredictor

    bundle = options.pop("bundle")
    return SaliencyPredictor(bundle, **options)


def _parse_size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and len(text) < 20):
        raise OptionError(f"--size must be WIDTHxHEIGHT, such as 960x540; got {text!r}")
    return int(width), int(height)


def _stem(source: Source) -> str:
    if source.path is not None:
        return source.path.stem or source.kind
    return "".join(letter if letter.isalnum() else "-" for letter in source.name)[:64]


def _writers(source: Source, directory: Path, save: str, *, peaks: int, alpha: float) -> list[Writer]:
    from uva_edge.runtimes.sources import NOMINAL_FPS
    from uva_edge.runtimes.writers import MapArray, MapImages, OverlayImage, OverlayVideo, PeakTable

    wanted = [name for name in save.split(",") if name]
    if not wanted or not set(wanted) <= set(_SAVES):
        raise OptionError(f"--save takes {', '.join(_SAVES)}, separated by commas; got {save!r}")
    _make_directory(directory)
    fps = source.fps or NOMINAL_FPS
    makers: dict[str, Callable[[], Writer]] = {
        "video": (lambda: OverlayImage(directory / "overlay.png", alpha=alpha, peaks=peaks))
        if source.kind == "image"
        else (lambda: OverlayVideo(directory / "overlay.mp4", fps, alpha=alpha, peaks=peaks)),
        "csv": lambda: PeakTable(directory / "peaks.csv", peaks=peaks),
        "npy": lambda: MapArray(directory / "maps.npy"),
        "png": lambda: MapImages(directory / "maps"),
    }
    writers: list[Writer] = []
    try:
        for name in dict.fromkeys(wanted):
            writers.append(makers[name]())
    except UvaEdgeError:
        for writer in writers:
            writer.discard()
        raise
    return writers


def _make_directory(directory: Path) -> None:
    from uva_edge.errors import OutputError

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory}: the directory can't be made: {error.strerror}; choose another -o"
        ) from None


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and remaining time, on standard error; a bare count where the end is unknown."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} FPS"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=_console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, fps=0.0)

        def update(now: Progress) -> None:
            bar.update(task, completed=now.frames, total=now.total, fps=now.fps)

        yield update


def _finish(
    predictor: SaliencyPredictor, report: Report, as_json: bool, extra: list[Path] | None = None
) -> None:
    """Say what was done and leave with the exit code that tells it."""
    outputs = [*report.outputs, *(extra or [])]
    if as_json:
        from dataclasses import asdict

        facts = {**asdict(report), "outputs": [str(path) for path in outputs]}
        _print_json({"bundle": predictor.bundle.name, "engine": predictor.info.as_dict(), **facts})
    else:
        info = predictor.info
        stages = ", ".join(f"{name} {stage.p50_ms:.2f}" for name, stage in report.stages.items())
        click.echo(
            f"{report.frames} frames at {report.fps:.1f} FPS with {predictor.bundle.name} on {info.engine}, "
            f"{info.precision}, threads {info.threads}; median ms a frame: {stages}",
            err=True,
        )
        for path in outputs:
            click.echo(str(path))
    if report.problem:
        click.echo(f"uva-edge: {report.problem}", err=True)
    if report.interrupted:
        click.echo("interrupted; what was finished is complete", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if report.problem:
        sys.exit(EXIT_DAMAGED_SOURCE)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.markup import escape
    from rich.table import Column, Table

    # The first column names the row: it is never cut.
    table = Table(Column(header[0], no_wrap=True, overflow="fold"), *header[1:])
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))
