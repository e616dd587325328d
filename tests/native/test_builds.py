"""What the C of a network is to a compiler, a linker and the sanitizers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

import pytest
from fragments import PROGRAMS
from models import Drawn, draw
from targets import (
    ProgramError,
    Target,
    call,
    compile_object,
    run,
    sections,
    undefined_symbols,
)

from uva_edge.runtimes.native.source import Origin, Source, generate

MEMORY_FUNCTIONS: Final = {"memcpy", "memset", "memmove", "memcmp"}
SANITIZERS: Final = (
    "-D_POSIX_C_SOURCE=200112L",
    "-O1",
    "-g",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
)
WARNINGS: Final = (
    *("-Wcast-align", "-Wcast-qual", "-Wundef", "-Wstrict-prototypes", "-Wmissing-prototypes"),
    *("-Wold-style-definition", "-Wpointer-arith", "-Wvla", "-Wwrite-strings", "-Wswitch-default"),
    *("-Wredundant-decls", "-Wfloat-conversion", "-Wdouble-promotion"),
)


@pytest.fixture(scope="module")
def network() -> Drawn:
    return draw(resolution=32)


@pytest.fixture(params=["int8", "fp32"])
def source(request: pytest.FixtureRequest, network: Drawn, tmp_path: Path) -> Source:
    """Written into the folder of the test."""
    made = network.source(request.param)
    made.write(tmp_path)
    return made


def written_sections(target: Target, obj: Path) -> set[str]:
    """Sections of an object that hold variables."""
    listing = call([f"{target.tools}objdump", "-h", obj.name], obj.parent).decode()
    sizes = dict(re.findall(r"^ *\d+ (\.\S+) +([0-9a-f]{8,16}) ", listing, re.MULTILINE))
    # Tables of pointers lie in .data.rel.ro where code is position-independent: the loader fills them in, once.
    written = re.compile(r"\.(?!data\.rel\.ro)(s?data|s?bss|tdata|tbss)\b.*")
    return {name for name, size in sizes.items() if written.fullmatch(name) and int(size, 16)}


@pytest.mark.parametrize("level", ["-Os", "-O2", "-O3"])
def test_it_writes_no_globals_and_calls_memory_functions_only(
    target: Target, level: str, source: Source, tmp_path: Path
) -> None:
    obj = compile_object(target, tmp_path / f"{source.stem}.c", tmp_path, (level,))
    assert undefined_symbols(target, obj) <= MEMORY_FUNCTIONS
    assert not written_sections(target, obj)
    if target.support == ("cortex_m.c",):
        found = sections(target, obj)
        assert (found.data, found.bss) == (0, 0)


def test_a_variable_would_be_seen(target: Target, tmp_path: Path) -> None:
    text = "int one = 1;\nint zeros[99];\nint *const table[] = {&one, zeros};\n"
    (tmp_path / "variables.c").write_text(text, encoding="utf-8")
    found = written_sections(target, compile_object(target, tmp_path / "variables.c", tmp_path))
    assert {name.replace(".s", ".") for name in found} == {".data", ".bss"}


@pytest.mark.parametrize("flags", [("-O2",), ("-O2", "-march=native")], ids=["plain", "native"])
def test_further_warnings(host: Target, flags: tuple[str, ...], source: Source, tmp_path: Path) -> None:
    compile_object(host, tmp_path / f"{source.stem}.c", tmp_path, (*flags, *WARNINGS))


def test_a_warning_would_be_seen(host: Target, source: Source, tmp_path: Path) -> None:
    (tmp_path / "odd.c").write_text(f"{source.code}\nint odd() {{ return NEVER; }}\n", encoding="utf-8")
    with pytest.raises(ProgramError, match=r"prototype|NEVER"):
        compile_object(host, tmp_path / "odd.c", tmp_path, WARNINGS)


@pytest.mark.parametrize("standard", ["c++98", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_header_is_cpp_too(compiler: str, standard: str, source: Source, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} here")
    (tmp_path / "program.cpp").write_text(
        f'#include "{source.stem}.h"\n'
        "int main() {\n"
        f"    return uva_abi_version() == UVA_ABI_VERSION && uva_state_size() <= {source.stem.upper()}_STATE_BYTES\n"
        "        && uva_init(NULL, NULL, 0) == UVA_ERROR_NULL ? 0 : 1;\n"
        "}\n",
        encoding="utf-8",
    )
    call(["gcc", "-O1", "-c", f"{source.stem}.c", "-o", "model.o"], tmp_path)
    # stdint.h has long long, which the first standard of C++ did not have.
    strict = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic", "-Wno-long-long")
    call(
        [compiler, f"-std={standard}", *strict, "program.cpp", "model.o", "-o", "program"],
        tmp_path,
    )
    call([str(tmp_path / "program")], tmp_path)


def test_two_models_in_one_program(host: Target, network: Drawn, tmp_path: Path) -> None:
    made = (
        generate(network.integers, Origin("first", "1" * 64, ("One.",))),
        generate((network.topology, network.parameters), Origin("second", "2" * 64, ("Another.",))),
    )
    for source in made:
        source.write(tmp_path)
    files = [PROGRAMS / "two_models.c", *(tmp_path / f"{source.stem}.c" for source in made)]
    assert run(host, files, tmp_path).decode().splitlines() == ["first int8", "second fp32"]


@pytest.mark.parametrize("processor", [(), ("-march=native",)], ids=["plain", "native"])
def test_memory_of_the_exact_size(
    host: Target, processor: tuple[str, ...], source: Source, tmp_path: Path
) -> None:
    assert run(host, _memory_program(source, tmp_path), tmp_path, (*SANITIZERS, *processor)) == b"0"


@pytest.mark.parametrize("buffer", ["uva_arena_size(), 16", "uva_state_size(), 16", "PIXELS * 3, rgb_offset"])
def test_a_byte_too_few_is_seen(host: Target, buffer: str, source: Source, tmp_path: Path) -> None:
    """What the test above relies on."""
    files = _memory_program(source, tmp_path)
    text = files[0].read_text("utf-8")
    size, offset = buffer.split(", ")
    assert f"allocate({buffer})" in text
    (tmp_path / "short.c").write_text(
        text.replace(f"allocate({buffer})", f"allocate({size} - 1, {offset})"), encoding="utf-8"
    )
    with pytest.raises(ProgramError, match="heap-buffer-overflow"):
        run(host, [tmp_path / "short.c", *files[1:]], tmp_path, (*SANITIZERS, f"-I{PROGRAMS}"))


def _memory_program(source: Source, folder: Path) -> list[Path]:
    (folder / "uva.h").write_text(f'#include "{source.stem}.h"\n', encoding="utf-8")
    return [PROGRAMS / "model_memory.c", PROGRAMS / "frame_case.c", folder / f"{source.stem}.c"]
