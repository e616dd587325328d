"""The processors that C code is tried on: how to compile a program for each of them, and run it here.

Nothing is installed: what a target lacks is told by `missing`, and `packages.txt` lists the Debian packages
that have it all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "targets"
STRICT: Final = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic")
_TIMEOUT: Final = 300  # seconds until a program is taken to hang


@dataclass(frozen=True)
class Target:
    """A processor. `tools` is the prefix of its binutils; `runner` the command that a program is given to."""

    name: str
    compiler: str
    flags: tuple[str, ...] = ()
    tools: str = ""
    runner: tuple[str, ...] = ()
    support: tuple[str, ...] = ("hosted.c",)  # files of FOLDER that every program has
    link: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sections:
    """Bytes of code and constants, of initialised and of zeroed variables."""

    text: int
    data: int
    bss: int


class ProgramError(Exception):
    """A compiler refused, or a program failed; with all that they said."""


def _board(machine: str) -> tuple[str, ...]:
    console = ("-chardev", "stdio,id=console", "-semihosting-config")
    semihosting = (*console, "enable=on,target=native,chardev=console")
    silent = ("-display", "none", "-monitor", "none", "-serial", "none")
    return ("qemu-system-arm", "-M", machine, *silent, *semihosting, "-kernel")


def _linux(name: str, triple: str, flags: tuple[str, ...] = (), cpu: tuple[str, ...] = ()) -> Target:
    machine = {"arm": "arm", "aarch64": "aarch64", "riscv64": "riscv64"}[triple.partition("-")[0]]
    runner = (f"qemu-{machine}-static", *cpu)
    return Target(name, f"{triple}-gcc", flags, f"{triple}-", runner, link=("-static",))


def _bare(name: str, machine: str, flags: tuple[str, ...]) -> Target:
    link = ("-nostartfiles", f"-Wl,-T,{FOLDER / 'cortex_m.ld'}")
    return Target(
        name,
        "arm-none-eabi-gcc",
        ("-mthumb", "-mfloat-abi=hard", *flags),
        "arm-none-eabi-",
        _board(machine),
        ("cortex_m.c",),
        link,
    )


_ALL: Final = (
    Target("gcc", "gcc"),
    Target("clang", "clang"),
    _linux("aarch64", "aarch64-linux-gnu", cpu=("-cpu", "cortex-a53")),
    _linux("aarch64-dotprod", "aarch64-linux-gnu", ("-march=armv8.2-a+dotprod",), ("-cpu", "max")),
    _linux("armhf", "arm-linux-gnueabihf", cpu=("-cpu", "cortex-a7")),
    _linux("armhf-neon", "arm-linux-gnueabihf", ("-march=armv7-a+neon-vfpv4", "-mfloat-abi=hard")),
    _linux("riscv64", "riscv64-linux-gnu"),
    _bare("cortex-m7", "mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-d16")),
    _bare("cortex-m55", "mps3-an547", ("-mcpu=cortex-m55",)),
)
TARGETS: Final = {target.name: target for target in _ALL}


def missing(target: Target) -> str | None:
    """Which of its tools are not on this machine, in words; None if all are."""
    tools = (target.compiler, f"{target.tools}size", f"{target.tools}nm", *target.runner[:1])
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"{target.name} needs {', '.join(absent)} (tests/native/packages.txt)" if absent else None


def compile_object(target: Target, source: Path, workdir: Path, flags: Sequence[str] = ("-O2",)) -> Path:
    """Compiles a C file strictly, as `STRICT` says; raises ProgramError."""
    source, workdir = source.resolve(), workdir.resolve()
    obj = workdir / f"{source.stem}.{target.name}.o"
    include = (f"-I{source.parent}", f"-I{FOLDER}", f"-I{workdir}")
    what = (*include, *flags, "-c", str(source), "-o", str(obj))
    call([target.compiler, *target.flags, *STRICT, *what], workdir)
    return obj


def link(target: Target, objects: Sequence[Path], program: Path, flags: Sequence[str] = ()) -> Path:
    """Links objects with the target's own start-up code and console; raises ProgramError."""
    program = program.resolve()
    support = [compile_object(target, FOLDER / name, program.parent) for name in target.support]
    files = [str(path.resolve()) for path in (*objects, *support)]
    call([target.compiler, *target.flags, *files, *target.link, *flags, "-o", str(program)], program.parent)
    return program


def run(target: Target, c_files: Sequence[Path], workdir: Path, flags: Sequence[str] = ("-O2",)) -> bytes:
    """Compiles C files, one with a `main`, links and runs them; returns what the program wrote.

    A program writes by `console.h`, and has no other input than what is compiled into it. Headers are found
    in `workdir` and beside the C files, which all have different names. Raises ProgramError if the program
    does not end with status 0.
    """
    objects = [compile_object(target, source, workdir, flags) for source in c_files]
    program = link(target, objects, workdir / f"{c_files[0].stem}.{target.name}.elf", flags)
    return call([*target.runner, str(program)], workdir)


def sections(target: Target, obj: Path) -> Sections:
    """What an object (or a program) takes in memory."""
    numbers = call([f"{target.tools}size", obj.name], obj.parent).decode().splitlines()[1].split()
    return Sections(*(int(number) for number in numbers[:3]))


def undefined_symbols(target: Target, obj: Path) -> set[str]:
    """What an object expects of others: the functions of the C library that it calls."""
    listing = call([f"{target.tools}nm", "-u", obj.name], obj.parent).decode()
    return set(re.findall(r"\bU (\S+)", listing))


def call(command: Sequence[str], folder: Path) -> bytes:
    """What a command writes, run in that folder, where it may drop core files; raises ProgramError."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise ProgramError(f"status {done.returncode} from {' '.join(command)}\n{said}")
    return done.stdout
