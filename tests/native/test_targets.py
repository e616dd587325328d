"""The harness itself: what programs write and how they end reaches the tests from every target."""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import TARGETS, ProgramError, Target, compile_object, missing, run, sections, undefined_symbols

HEAD = '#include "console.h"\n'


def program(folder: Path, text: str) -> list[Path]:
    (folder / "program.c").write_text(HEAD + text, encoding="utf-8")
    return [folder / "program.c"]


def test_output_and_memory(target: Target, tmp_path: Path) -> None:
    """Constants, variables with and without a value, floats and a stack."""
    text = """
static const char name[] = "it is ";
static volatile int32_t given[3] = {-2147483647 - 1, 0, 70};
static volatile float sums[3];
int main(void)
{
    console_text(name);
    for (int i = 0; i < 3; i++) {
        sums[i] += (float)given[i] * 0.5f;
        console_number(given[i] >= 0 ? (int32_t)sums[i] : given[i]);
        console_text(" ");
    }
    console_hex(0x0123456789abcdefu);
    return 0;
}
"""
    for level in ("-O0", "-O2", "-O3"):
        written = run(target, program(tmp_path, text), tmp_path, (level,))
        assert written == b"it is -2147483648 0 35 0123456789abcdef", level


def test_the_exit_status_counts(target: Target, tmp_path: Path) -> None:
    files = program(tmp_path, 'int main(void) { console_text("so far"); return 7; }\n')
    with pytest.raises(ProgramError, match=r"status 7 from (.|\n)*so far"):
        run(target, files, tmp_path)


@pytest.mark.parametrize("name", ["cortex-m7", "cortex-m55"])
def test_a_fault_of_a_board_ends_the_program(name: str, tmp_path: Path) -> None:
    reason = missing(TARGETS[name])
    if reason is not None:
        pytest.skip(reason)
    files = program(tmp_path, "int main(void) { return *(volatile int *)0xf0000000u; }\n")
    with pytest.raises(ProgramError, match=r"status 125 from (.|\n)*fault, CFSR 0000000000008200"):
        run(TARGETS[name], files, tmp_path)


def test_warnings_are_errors(target: Target, tmp_path: Path) -> None:
    files = program(tmp_path, "int main(void) { int unused; return 0; }\n")
    with pytest.raises(ProgramError, match="unused"):
        run(target, files, tmp_path)


def test_sections_and_symbols(target: Target, tmp_path: Path) -> None:
    text = """
int32_t table[25] = {1}, zeroes[50];
const char words[1000] = "words";
void tell(void) { console_text(words + table[0] + zeroes[0]); }
"""
    obj = compile_object(target, program(tmp_path, text)[0], tmp_path)
    sizes = sections(target, obj)
    assert (sizes.data, sizes.bss) == (100, 200)
    assert 1000 < sizes.text < 1300
    assert undefined_symbols(target, obj) == {"console_text"}


def test_what_is_missing_is_told() -> None:
    assert missing(Target("none", "no-such-cc", tools="no-such-", runner=("no-such-qemu", "-x"))) == (
        "none needs no-such-cc, no-such-size, no-such-nm, no-such-qemu (tests/native/packages.txt)"
    )
