"""What the frame functions read and write, seen by the sanitizers of compilers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fragments import PROGRAMS, write_sources
from targets import FOLDER, STRICT, TARGETS, ProgramError, Target, call, missing, run

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SOURCES = ("heap_call.c", "frame_case.c")
FUZZ_RUNS = 20_000


def test_nothing_else_is_read_or_written(host: Target, tmp_path: Path) -> None:
    files = [PROGRAMS / name for name in ("frame_bounds.c", *SOURCES)]
    assert run(host, [*files, write_sources(tmp_path, 32, 64)], tmp_path, SANITIZERS) == b"done\n"


def test_a_byte_too_few_is_seen(host: Target, tmp_path: Path) -> None:
    """What the other tests of this file rely on."""
    files = [PROGRAMS / name for name in ("frame_bounds.c", "frame_case.c")]
    short = (
        (PROGRAMS / "heap_call.c")
        .read_text("utf-8")
        .replace("(parts[part].bytes)", "(parts[part].bytes - 1)")
    )
    (tmp_path / "heap_call.c").write_text(short, encoding="utf-8")
    (tmp_path / "heap_call.h").write_bytes((PROGRAMS / "heap_call.h").read_bytes())
    (tmp_path / "frame_case.h").write_bytes((PROGRAMS / "frame_case.h").read_bytes())
    sources = [*files, tmp_path / "heap_call.c", write_sources(tmp_path, 32, 64)]
    with pytest.raises(ProgramError, match="heap-buffer-overflow"):
        run(host, sources, tmp_path, SANITIZERS)


def _clang_with_fuzzer(folder: Path) -> str:
    target = TARGETS["clang"]
    reason = missing(target)
    if reason is not None:
        pytest.skip(reason)
    source = folder / "empty.c"
    source.write_text("int LLVMFuzzerTestOneInput(void) { return 0; }\n", encoding="utf-8")
    try:
        call([target.compiler, "-fsanitize=fuzzer", str(source), "-o", str(folder / "empty")], folder)
    except ProgramError as error:
        pytest.skip(f"this clang can't link with libFuzzer (libclang-rt-14-dev): {error}")
    return target.compiler


def test_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """A fixed number of calls with a fixed seed, guided by the coverage of the code."""
    clang = _clang_with_fuzzer(tmp_path)
    files = [PROGRAMS / name for name in ("fuzz_frame.c", *SOURCES)]
    sources = [str(path) for path in (*files, write_sources(tmp_path, 32, 32))]
    sanitize = ("-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    program = tmp_path / "fuzz"
    call([clang, *STRICT, f"-I{tmp_path}", f"-I{FOLDER}", *sanitize, *sources, "-o", str(program)], tmp_path)
    # Without entropic scheduling, which looks at the clock, each run is the same.
    # Without a limit of memory: what it reads as its own is the most that pytest ever had, which outlives the exec.
    search = ("-seed=1", "-entropic=0", "-len_control=0", "-max_len=14", f"-runs={FUZZ_RUNS}")
    options = (*search, "-rss_limit_mb=0")
    done = subprocess.run(
        [str(program), *options, "-print_final_stats=1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"number_of_executed_units: {FUZZ_RUNS}" in done.stdout
