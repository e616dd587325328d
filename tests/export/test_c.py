"""`--to c` and `--to c-int8`: what the folder holds, that its self-test means something, and what it says of itself."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from targets import STRICT, TARGETS, ProgramError, Target, call, compile_object, missing, run

pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge import Bundle
from uva_edge.errors import ExportError, OptionError
from uva_edge.export import c
from uva_edge.export.artifacts import Material, make
from uva_edge.export.bundles import export_bundle, exportable
from uva_edge.export.fidelity import GATED
from uva_edge.runtimes.native.backend import INTEGERS
from uva_edge.runtimes.native.c_text import comment, string
from uva_edge.runtimes.native.constants import constants_of

PRECISIONS: Final = ("fp32", "int8")
SANITIZERS: Final = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CONSOLE_MAIN: Final = """#include "console.h"

int uva_selftest(void);

int main(void)
{
    const int result = uva_selftest();
    console_number(result);
    return result != 0;
}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported") / "bundle"


@pytest.fixture(scope="module")
def exported(place: Path) -> Bundle:
    """Without data: the integers are those of the bundle."""
    return export_bundle("uva-32", place, name="uva-32", to=["c", "c-int8"])


@pytest.fixture(params=PRECISIONS)
def folder(request: pytest.FixtureRequest, exported: Bundle, place: Path) -> Path:
    return place / "c" / f"uva_32_{request.param}"


@pytest.fixture(params=["gcc", "clang"])
def host(request: pytest.FixtureRequest) -> Target:
    if reason := missing(TARGETS[request.param]):
        pytest.skip(reason)
    return TARGETS[request.param]


def built(host: Target, folder: Path, output: Path, flags: tuple[str, ...] = ("-O2",)) -> Path:
    sources = ("selftest.c", f"{folder.name}.c")
    call([host.compiler, *STRICT, *flags, *sources, "-o", str(output)], folder)
    return output


# --- the folder -----------------------------------------------------------------------------------------------


def test_the_folder(folder: Path, exported: Bundle) -> None:
    names = {f"{folder.name}.c", f"{folder.name}.h", "selftest.c", "CMakeLists.txt", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    page = (folder / "README.md").read_text("utf-8")
    assert not re.search(r"@\w+@", page + (folder / "CMakeLists.txt").read_text("utf-8"))
    assert "uva-32 as C" in page


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_artifact(exported: Bundle, place: Path, precision: str) -> None:
    artifact = next(item for item in exported.manifest.artifacts if item.name == f"c-{precision}")
    assert (artifact.format, artifact.precision, artifact.frames) == ("c", precision, 1)
    assert artifact.files[0].path == f"c/uva_32_{precision}/uva_32_{precision}.c"
    page = (place / f"c/uva_32_{precision}/README.md").read_text("utf-8")
    for what in ("constants", "state", "arena"):
        assert f"{artifact.details['bytes'][what]:,} bytes" in page
    assert artifact.parity["min_cc"] > 0.99
    if precision == "int8":
        shipped = next(
            item for item in Bundle.shipped("uva-32").manifest.artifacts if item.format == INTEGERS
        )
        for name in GATED:
            assert artifact.parity[name] == shipped.parity[name]


def test_int8_without_integers_needs_data() -> None:
    material = Material(dataclasses.replace(exportable("uva-32"), integers=None))
    with pytest.raises(OptionError, match="--data"):
        make(material, ["c-int8"])


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(ExportError, match=r"CC is /nonexistent/cc, which is not there; install"):
        export_bundle("uva-32", tmp_path / "bundle", name="uva-32", to=["c-int8"])
    assert not (tmp_path / "bundle").exists()


# --- the self-test ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [("-O2",), ("-O3", "-march=native"), SANITIZERS], ids=["O2", "native", "san"]
)
def test_the_self_test_passes(host: Target, folder: Path, flags: tuple[str, ...], tmp_path: Path) -> None:
    said = call([str(built(host, folder, tmp_path / "selftest", flags))], tmp_path).decode()
    assert re.fullmatch(r"uva-32 \((fp32|int8), \w+ kernels\): passed\n", said)


@pytest.mark.parametrize(
    ("name", "precision"), [("aarch64-dotprod", "int8"), ("aarch64", "fp32"), ("cortex-m7", "int8")]
)
def test_the_self_test_passes_in_firmware(
    exported: Bundle, place: Path, name: str, precision: str, tmp_path: Path
) -> None:
    target, folder = TARGETS[name], place / "c" / f"uva_32_{precision}"
    if reason := missing(target):
        pytest.skip(reason)
    (tmp_path / "firmware.c").write_text(CONSOLE_MAIN, encoding="utf-8")
    files = [tmp_path / "firmware.c", folder / "selftest.c", folder / f"{folder.name}.c"]
    flags = ("-O2", "-DUVA_NO_MAIN", f"-I{folder}", "-Wmissing-prototypes")
    if name == "cortex-m7":
        compile_object(target, folder / "selftest.c", tmp_path, (*flags, "-ffreestanding"))
    assert run(target, files, tmp_path, flags) == b"0"


def test_the_self_test_fails_where_a_value_differs(host: Target, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / folder.name)
    path = tmp_path / folder.name / "selftest.c"
    text = path.read_text("utf-8")
    start = text.index("= {\n    {") + len("= {\n    {")
    first = text[start : text.index(",", start)]
    other = np.float32(first.rstrip("f")) + np.float32(1e-5 if folder.name.endswith("int8") else 2.5e-4)
    path.write_text(f"{text[:start]}{float(other):.9e}f{text[start + len(first) :]}", encoding="utf-8")
    done = subprocess.run(
        [built(host, tmp_path / folder.name, tmp_path / "selftest")], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"1 of 144 values differ" in done.stdout


def test_the_self_test_fails_where_a_weight_differs(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / folder.name)
    path = tmp_path / folder.name / f"{folder.name}.c"
    text = path.read_text("utf-8")
    start = text.index("{", text.index("uva_first_weight[")) + 1
    end = text.index("}", start)
    tampered = re.sub(r"-?\d[^,\s]*", "0", text[start:end])
    path.write_text(text[:start] + tampered + text[end:], encoding="utf-8")
    with pytest.raises(ProgramError, match="values differ"):
        call([str(built(TARGETS["gcc"], tmp_path / folder.name, tmp_path / "selftest"))], tmp_path)


def test_cmake_builds_and_tests_it(folder: Path, tmp_path: Path) -> None:
    for tool in ("cmake", "ctest"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    call(["cmake", "-S", str(folder), "-B", str(tmp_path / "build")], tmp_path)
    call(["cmake", "--build", str(tmp_path / "build")], tmp_path)
    said = call(["ctest", "--test-dir", str(tmp_path / "build"), "--output-on-failure"], tmp_path)
    assert b"100% tests passed, 0 tests failed out of 1" in said


# --- what it says of itself ---------------------------------------------------------------------------------------


def test_provenance(folder: Path, exported: Bundle) -> None:
    lineage = exported.manifest.lineage
    artifact = next(
        item for item in exported.manifest.artifacts if item.files[0].path.startswith(f"c/{folder.name}/")
    )
    for suffix in (".c", ".h"):
        text = (folder / f"{folder.name}{suffix}").read_text("utf-8")
        top = " ".join(text[: text.index("*/")].split())
        assert f"uva-32 ({artifact.precision}), generated by uva_edge" in top
        assert f"sha256 {lineage.checkpoint_sha256}" in top
        assert f"Licence of the weights: {lineage.licence}" in top
        for what in ("state", "arena"):
            assert str(artifact.details["bytes"][what]) in top
        assert max(map(len, text[: text.index("*/") + 2].splitlines())) <= 110


LICENCES: Final = (
    'MIT */ #error "out" /*',
    "MIT\n*/\n#error out\r\n/*",
    "a */*/ b /*/*/ c **/ d",
    "*\\\n/ #error out",
    "*??/\n/ ???/ #error out",
    "\u2028*/\u202e #error out",
    "x" * 300 + "*/" + "/" * 200 + "*" * 200 + "\\",
    "",
)


@pytest.mark.parametrize("licence", LICENCES, ids=range(len(LICENCES)))
def test_a_licence_stays_within_the_comment(host: Target, licence: str, tmp_path: Path) -> None:
    text = comment(("One.", f"Licence of the weights: {licence}"))
    assert text.index("*/") == len(text) - 3
    assert max(map(len, text.splitlines())) <= 110
    (tmp_path / "commented.c").write_text(f"{text}int x;\n", encoding="utf-8")
    obj = compile_object(host, tmp_path / "commented.c", tmp_path, ("-O0",))
    assert call(["nm", obj.name], tmp_path).split()[-1] == b"x"


def test_a_name_stays_within_its_string(host: Target, tmp_path: Path) -> None:
    weights = Bundle.shipped("uva-32")
    artifact = next(item for item in weights.manifest.artifacts if item.format == "torch")
    manifest = weights.manifest
    constants = constants_of(manifest.network, manifest.contract, "torch", weights.read(artifact.files[0]))
    source = c.source_of(constants, 'a"; int odd = 1; /*\\', "0" * 64, "*/ int other = 1; /*")
    source.write(tmp_path)
    obj = compile_object(host, tmp_path / f"{source.stem}.c", tmp_path, ("-O1",))
    assert re.fullmatch(r"uva_[a-z0-9_]+_fp32", source.stem)
    names = call(["nm", obj.name], tmp_path).decode().split()
    assert not {"odd", "other"} & set(names)
    assert string("uva-64.v2_a") == '"uva-64.v2_a"'
    assert string('a"\\\n%') == '"a____"'
