"""TinyHD: the public weights give the golden maps; small random ones show the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.errors import DataError, FrameError, OptionError  # noqa: E402
from uva_edge.models.tinyhd import GRID, TinyHD, Widths, normalize  # noqa: E402
from uva_edge.models.tinyhd_checkpoint import load_tinyhd, load_tinyhd_bytes, tinyhd_bytes  # noqa: E402
from uva_edge.models.tinyhd_step import HISTORY, TinyHDStep, windows  # noqa: E402
from uva_edge.models.tinyhd_teacher import TinyHDTeacher  # noqa: E402
from uva_edge.preprocess import network_input  # noqa: E402

TEACHERS = Path(__file__).resolve().parents[3] / "shared" / "teachers"
VARIANTS = ("s", "m")


def clip(frames: int, rows: int = 32, columns: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, rows, columns, 3), dtype=np.uint8)


def to_peak(maps: np.ndarray) -> np.ndarray:
    return maps / maps.max(axis=(1, 2), keepdims=True)


# --- the public weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_public_weights_give_the_golden_maps(variant: str) -> None:
    path = TEACHERS / f"d123{variant}_rc4_rc1T.pth"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the weights have no licence and don't come with uva_edge")
    network = load_tinyhd(path)
    assert (
        sum(value.numel() for value in network.state_dict().values()) == {"s": 532_014, "m": 534_174}[variant]
    )
    with np.load(TEACHERS / "tinyhd_golden.npz") as golden, torch.inference_mode():
        frames = torch.from_numpy(golden["frames"][1:])
        maps = network(normalize(frames).transpose(1, 2))
        assert np.abs(maps.numpy() - golden[f"out_{variant}"][1:]).max() <= 1e-5
        # The clip step gives the last frame's map, scaled to its peak, from the 15 frames before it.
        (step,), state = TinyHDStep(network)(frames[0, HISTORY:], frames[0, :HISTORY])
        last = golden["out_s"][1] if variant == "s" else golden["out_m"][1, -1]
        assert np.abs(step.numpy() - last / last.max()).max() <= 1e-5
        assert torch.equal(state, frames[0, 1:])


# --- the network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_and_range(variant: str, tinyhd: Any) -> None:
    inputs = normalize(torch.from_numpy(clip(32).reshape(2, 16, 32, 64, 3))).transpose(1, 2)
    assert inputs.shape == (2, 3, 16, 32, 64)
    with torch.inference_mode():
        maps = tinyhd(variant)(inputs)
    assert maps.shape == ((2, 32, 64) if variant == "s" else (2, 16, 32, 64))
    assert maps.dtype == torch.float32
    assert 0 <= maps.min() < maps.max() <= 1


def test_normalisation_is_that_of_imagenet() -> None:
    frame = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert normalize(frame).shape == (3, 1, 1)
    assert normalize(frame).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_frame_of_the_window_counts(variant: str, tinyhd: Any) -> None:
    network, seen = tinyhd(variant), clip(16)
    with torch.inference_mode():
        before = TinyHDStep(network)(torch.from_numpy(seen[15:]), torch.from_numpy(seen[:15]))[0]
        for place in range(16):
            changed = seen.copy()
            changed[place] = 255 - changed[place]
            after = TinyHDStep(network)(torch.from_numpy(changed[15:]), torch.from_numpy(changed[:15]))[0]
            assert (before - after).abs().max() > 1e-3, place


@pytest.mark.parametrize(
    "widths",
    [
        {"encoder": (8,) * 18, "adapters": ((1, 1),) * 37},
        {"encoder": (8,) * 19, "adapters": ((1, 1),) * 36},
        {"encoder": (8,) * 18 + (0,), "adapters": ((1, 1),) * 37},
        {"encoder": (8,) * 19, "adapters": ((1, 1 << 20),) * 37},
    ],
)
def test_wrong_widths(widths: Any) -> None:
    with pytest.raises(OptionError, match="widths"):
        Widths(**widths)


def test_an_unknown_variant(tinyhd_widths: Widths) -> None:
    with pytest.raises(OptionError, match="'l'"):
        TinyHD("l", tinyhd_widths)  # type: ignore[arg-type]


# --- the clip step --------------------------------------------------------------------------------------


def test_windows_slide_by_one_frame() -> None:
    frames = torch.arange(18.0).reshape(18, 1, 1, 1).expand(-1, 3, -1, -1)
    slid = windows(frames)
    assert slid.shape == (3, 3, 16, 1, 1)
    for place in range(3):
        assert slid[place, 0].flatten().tolist() == list(range(place, place + 16))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 3, 17])
def test_a_chain_of_steps_equals_one_long_step(variant: str, length: int, tinyhd: Any) -> None:
    step, frames = TinyHDStep(tinyhd(variant)), torch.from_numpy(clip(18))
    first = frames[:1].repeat(HISTORY, 1, 1, 1)
    with torch.inference_mode():
        whole, last = step(frames, first)
        state, maps = first, []
        for start in range(0, len(frames), length):
            out, state = step(frames[start : start + length], state)
            maps.append(out)
    assert (torch.cat(maps) - whole).abs().max() <= 1e-5
    assert torch.equal(state, last)
    assert torch.equal(last, frames[3:])
    assert state.dtype == torch.uint8


# --- the teacher ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_the_teacher_s_slides_over_the_clip(batch: int, tinyhd: Any) -> None:
    network, frames = tinyhd("s"), clip(5, 50, 70)
    maps = TinyHDTeacher(network, batch=batch).predict(frames)
    assert (maps.shape, maps.dtype) == ((5, *GRID), np.float32)
    inputs = torch.from_numpy(np.stack([network_input(frame, GRID, color="rgb") for frame in frames]))
    with torch.inference_mode():
        expected = TinyHDStep(network)(inputs[3:], torch.cat((inputs[:1].repeat(12, 1, 1, 1), inputs[:3])))[0]
    assert np.abs(maps[3:] - to_peak(expected.numpy())).max() <= 1e-5


def test_the_teacher_m_averages_where_windows_overlap(tinyhd: Any) -> None:
    network, frames = tinyhd("m"), clip(19, *GRID)
    maps = TinyHDTeacher(network, batch=2).predict(frames)
    assert (maps.shape, maps.dtype) == ((19, *GRID), np.float32)
    assert maps.min() >= 0
    assert (maps.max(axis=(1, 2)) == 1).all()
    with torch.inference_mode():
        early, late = (
            network(normalize(torch.from_numpy(frames[start : start + 16])).transpose(0, 1)[None])[0].numpy()
            for start in (0, 3)
        )
    expected = np.concatenate((early[:3], (early[3:] + late[:13]) / 2, late[13:]))
    assert np.abs(maps - to_peak(expected)).max() <= 1e-5


def test_the_teacher_m_repeats_the_first_frame_of_a_short_clip(tinyhd: Any) -> None:
    network, frames = tinyhd("m"), clip(2, *GRID)
    padded = np.concatenate((frames[:1].repeat(14, axis=0), frames))
    with torch.inference_mode():
        expected = network(normalize(torch.from_numpy(padded)).transpose(0, 1)[None])[0, -2:]
    assert np.abs(TinyHDTeacher(network).predict(frames) - to_peak(expected.numpy())).max() <= 1e-5


@pytest.mark.parametrize("frames", [clip(1)[0], clip(1)[:0], clip(1).astype(np.float32)])
def test_the_teacher_refuses_what_is_no_clip(frames: Any, tinyhd: Any) -> None:
    with pytest.raises(FrameError):
        TinyHDTeacher(tinyhd("s")).predict(frames)


def test_the_teacher_needs_a_batch(tinyhd: Any) -> None:
    with pytest.raises(OptionError, match="batch"):
        TinyHDTeacher(tinyhd("s"), batch=0)


# --- checkpoints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpoints_come_back(variant: str, tinyhd: Any, tmp_path: Path) -> None:
    network = tinyhd(variant)
    path = tmp_path / "tiny.pth"
    torch.save({"student_model": network.state_dict()}, path)
    for loaded in (
        load_tinyhd(path),
        load_tinyhd(path.read_bytes()),
        load_tinyhd_bytes(tinyhd_bytes(network)),
    ):
        assert loaded.variant == variant
        assert not loaded.training
        ours, theirs = loaded.state_dict(), network.state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert all(parameter.requires_grad for parameter in loaded.parameters())


def changed(state: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {"student_model": {**state, key: value}}


BIAS = "decoder.decoder.0.bias"
DAMAGE: dict[str, Any] = {
    "no weights": lambda state: {"student_model": {}},
    "another key": lambda state: {"model": state},
    "a list": lambda state: [1, 2],
    "a tensor missing": lambda state: {"student_model": {k: v for k, v in state.items() if k != BIAS}},
    "a tensor too many": lambda state: changed(state, "more", torch.zeros(1)),
    "another shape": lambda state: changed(state, BIAS, torch.zeros(2)),
    "another dtype": lambda state: changed(state, BIAS, torch.zeros(1, dtype=torch.float64)),
    "integers": lambda state: changed(state, BIAS, torch.zeros(1, dtype=torch.int64)),
    "no tensor": lambda state: changed(state, BIAS, 3),
    "NaN": lambda state: changed(state, BIAS, torch.tensor([torch.nan])),
    "widths that don't fit": lambda state: changed(
        state, "encoder.encoder.18.0.weight", torch.zeros(9, 4, 1, 1, 1)
    ),
    "widths without end": lambda state: changed(
        state, "encoder.encoder.18.0.weight", torch.zeros(1).expand(1 << 40, 1, 1, 1, 1)
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_checkpoints_are_named(name: str, tinyhd: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save(DAMAGE[name](dict(tinyhd("s").state_dict())), path)
    with pytest.raises(DataError, match=r"odd\.pth: expected the weights of TinyHD"):
        load_tinyhd(path)


def test_files_that_are_no_checkpoint(tinyhd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"student_model": tinyhd("s").state_dict()}, whole)
    data = whole.read_bytes()
    for name, content in {"empty": b"", "text": b"no network", "half": data[: len(data) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: "):
            load_tinyhd(tmp_path / name)
        with pytest.raises(DataError, match="weights"):
            load_tinyhd_bytes(content)
    with pytest.raises(DataError, match=r"absent\.pth: "):
        load_tinyhd(tmp_path / "absent.pth")
    monkeypatch.setattr("uva_edge.models.tinyhd_checkpoint.MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"whole\.pth: more than 100 bytes"):
        load_tinyhd(whole)


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (trace,)

    torch.save({"student_model": Evil()}, path)
    with pytest.raises(DataError, match=r"evil\.pth"):
        load_tinyhd(path)
    assert not trace.exists()
