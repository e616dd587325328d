"""Classifier weights: what is loaded, where it goes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from uva_edge.errors import DataError
from uva_edge.models.teachers import imagenet
from uva_edge.models.teachers.dva import DVA
from uva_edge.models.teachers.salnet import SalNet
from uva_edge.models.teachers.tsnet import TSNet

# torchvision's vgg16: index in `features` of each convolution, and its channels; the classifier is cut short.
VGG16 = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
VGG16 |= {24: 512, 26: 512, 28: 512}
WIDTH = 1 / 16


def vgg16(width: float = WIDTH) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors, inputs = {}, 3
    for index, channels in VGG16.items():
        outputs = round(channels * width)
        tensors[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator)
        tensors[f"features.{index}.bias"] = torch.randn(outputs, generator=generator)
        inputs = outputs
    return {**tensors, "classifier.0.weight": torch.randn(8, 8, generator=generator)}


def vgg_m() -> dict[str, Tensor]:
    plan = {0: (6, 3, 7), 4: (16, 6, 5), 8: (32, 16, 3), 10: (32, 32, 3)}
    tensors = {}
    for index, (outputs, inputs, kernel) in plan.items():
        tensors[f"features.{index}.weight"] = torch.randn(outputs, inputs, kernel, kernel)
        tensors[f"features.{index}.bias"] = torch.randn(outputs)
    return tensors


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("name", ["vgg16.pth", "vgg16.safetensors"])
def test_vgg16_into_dva(tmp_path: Path, name: str) -> None:
    tensors = vgg16()
    teacher = DVA(width=WIDTH)
    decoders = {key: value.clone() for key, value in teacher.decoders.state_dict().items()}
    teacher.load_imagenet(write(tmp_path / name, tensors))
    assert teacher.pretrained
    ours = teacher.encoder.state_dict()
    assert set(ours) == set(tensors) - {"classifier.0.weight"}
    assert all(torch.equal(ours[key], tensors[key]) for key in ours)
    assert all(torch.equal(value, decoders[key]) for key, value in teacher.decoders.state_dict().items())


def test_the_encoder_is_vgg16(tmp_path: Path) -> None:
    """Its levels are those of the layers written out one by one."""
    tensors = vgg16()
    teacher = DVA(width=WIDTH)
    teacher.load_imagenet(write(tmp_path / "vgg16.pth", tensors))
    images = torch.rand(1, 3, 32, 32)
    levels, features = [], images
    for index in VGG16:
        if index in (5, 10, 17, 24):
            levels.append(features)
            features = functional.max_pool2d(features, 2)
        weight, bias = tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"]
        features = functional.relu(functional.conv2d(features, weight, bias, padding=1))
    for ours, theirs in zip(teacher.encoder(images), [*levels, features], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_vgg_m_sees_what_it_saw_in_caffe(tmp_path: Path) -> None:
    """conv1 gives what the file's weights give on the same picture as BGR in 0..255, less its mean."""
    tensors = vgg_m()
    teacher = SalNet(width=WIDTH, resolution=(32, 32))
    teacher.load_imagenet(write(tmp_path / "vggm.pth", tensors))
    assert teacher.pretrained
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    centred = torch.tensor(frames[..., ::-1].astype(np.float32) - np.array((100, 110, 118), np.float32))
    weight, bias = tensors["features.0.weight"], tensors["features.0.bias"]
    expected = functional.conv2d(centred.permute(0, 3, 1, 2), weight, bias, padding=3)
    torch.testing.assert_close(
        teacher.features[0](teacher.prepare(frames, frames)), expected, rtol=1e-4, atol=0.05
    )
    second = teacher.features[4]
    assert isinstance(second, nn.Conv2d)
    assert torch.equal(second.weight, tensors["features.4.weight"])


@pytest.mark.parametrize("streams", ["rgb+flow", "flow"])
def test_vgg_m_into_every_stream(tmp_path: Path, streams: Any) -> None:
    tensors = vgg_m()
    teacher = TSNet(width=WIDTH, resolution=(32, 32), streams=streams)
    teacher.load_imagenet(write(tmp_path / "vggm.pth", tensors))
    assert teacher.pretrained
    for stream in (teacher.spatial, teacher.temporal):
        if stream is not None:
            third = stream[7]
            assert isinstance(third, nn.Conv2d)
            assert torch.equal(third.weight, tensors["features.8.weight"])


def forged(**changes: Any) -> dict[str, Any]:
    return {**vgg16(), **{name.replace("__", "."): value for name, value in changes.items()}}


REFUSED: dict[str, tuple[Any, str]] = {
    "another width": (vgg16(1 / 8), r"features\.0\.weight .*\(4, 3, 3, 3\); got .*\(8, 3, 3, 3\)"),
    "a wrong shape": (forged(features__28__bias=torch.zeros(7)), r"features\.28\.bias .*\(7,\)"),
    "integers": (forged(features__0__bias=torch.zeros(4, dtype=torch.int64)), r"features\.0\.bias .*int64"),
    "NaN": (forged(features__5__bias=torch.full((8,), torch.nan)), r"features\.5\.bias .*NaN"),
    "no tensor": (forged(features__5__bias=3), r"features\.5\.bias"),
    "other names": ({"conv1_1.weight": torch.zeros(1)}, r"features\.0\.weight .*conv1_1\.weight"),
    "a list": ([torch.zeros(1)], "got list"),
    "code": (nn.Linear(1, 1), "state dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_changed(tmp_path: Path, case: str) -> None:
    content, said = REFUSED[case]
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    teacher = DVA(width=WIDTH)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    with pytest.raises(DataError, match=rf"weights\.pth: .*{said}"):
        teacher.load_imagenet(path)
    assert not teacher.pretrained
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02." * 9, b"\xff" * 64, b"no weights"])
def test_other_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        DVA(width=WIDTH).load_imagenet(path)


def test_missing_and_too_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = DVA(width=WIDTH)
    with pytest.raises(DataError, match=r"none\.pth: No such file"):
        teacher.load_imagenet(tmp_path / "none.pth")
    monkeypatch.setattr(imagenet, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="at most 10"):
        teacher.load_imagenet(write(tmp_path / "vgg16.pth", vgg16()))
