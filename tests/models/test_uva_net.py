"""The architecture against the figures of [UVA]: parameters, MACs, shapes, and what depends on what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uva_edge.errors import OptionError
from uva_edge.models.blocks import CAResBlock, ChannelAttention
from uva_edge.models.clip_step import ClipStep, folded
from uva_edge.models.cost import cost_of
from uva_edge.models.uva_net import (
    RESOLUTIONS,
    Student,
    UvaNet,
    UvaNetConfig,
    normalize,
    temporal_features,
    to_map,
)


def frames(count: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def test_parameters_and_macs_are_the_papers() -> None:
    for side, pair, features, step in ((32, 12.9, 1.8, 11.1), (64, 51.5, 7.3, 44.2)):
        cost = cost_of(UvaNet(UvaNetConfig(resolution=side)))
        assert cost.parameters == 165_337
        figures = (cost.macs_per_pair, cost.macs_of_features, cost.macs_per_step)
        assert [round(value / 1e6, 1) for value in figures] == [pair, features, step], side


@pytest.mark.parametrize("side", RESOLUTIONS)
def test_every_resolution_gives_maps_of_its_own_size(side: int) -> None:
    network = UvaNet(UvaNetConfig(resolution=side)).eval()
    with torch.inference_mode():
        features = network.features(frames(1, side))
        logits = network(frames(1, side), frames(1, side, 1))
    assert features.shape == network.config.state_shape == (1, 64, side // 4, side // 4)
    assert logits.shape == (1, side, side)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 48},
        {"block": "resnet"},
        {"pairing": "both"},
        {"output": "softmax"},
        {"expansion": 0},
        {"branches": "none"},
        {"width": 9},
        {"width": True},
    ],
    ids=str,
)
def test_unknown_configurations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=str(next(iter(wrong.values())))):
        UvaNetConfig(**wrong)  # type: ignore[arg-type]


def test_channel_plan() -> None:
    network = UvaNet(UvaNetConfig(resolution=64)).eval()
    shapes: list[tuple[int, ...]] = []
    stages = [*network.low_level, *network.spatial, *network.temporal, *network.decoder]
    hooks = [stage.register_forward_hook(lambda *call: shapes.append(call[2].shape[1:3])) for stage in stages]
    with torch.inference_mode():
        network(frames(1, 64), frames(1, 64, 1))
    for hook in hooks:
        hook.remove()
    f_s = [(16, 64), (16, 32), (32, 16), (64, 16)]
    path = [(64, 16), (128, 16)]
    fusion = [(32, 16), (32, 16), (32, 16), (16, 16), (8, 32), (8, 32), (1, 64)]
    assert [tuple(shape) for shape in shapes] == [*f_s, *f_s, *path, *path, *fusion]


def test_ca_res_is_equations_1_and_2() -> None:
    torch.manual_seed(0)
    block = CAResBlock(32, 32).eval()
    features = torch.randn(2, 32, 8, 8)
    attention = block.attention
    assert attention is not None

    def mlp(pooled: Tensor) -> Tensor:
        return attention.excite(torch.relu(attention.squeeze(pooled)))

    with torch.inference_mode():
        inverted = block.inverted(features)
        pooled = (inverted.mean((2, 3), keepdim=True), inverted.amax((2, 3), keepdim=True))
        expected = features + inverted * torch.sigmoid(mlp(pooled[0]) + mlp(pooled[1]))
        torch.testing.assert_close(block(features), expected)


def test_no_sum_where_the_shape_changes() -> None:
    for block in (CAResBlock(8, 16), CAResBlock(16, 16, stride=2)):
        assert not block.residual
    assert CAResBlock(16, 16).residual


def test_ablations_differ_in_their_attention() -> None:
    features = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    spiked = features.clone()
    spiked[..., 0, 0] += 4
    spiked -= (spiked - features).mean((2, 3), keepdim=True)  # another maximum, the same mean
    for max_pool in (False, True):
        attention = ChannelAttention(16, max_pool=max_pool)
        with torch.no_grad():
            for parameter in attention.parameters():
                parameter.abs_()
            change = (attention(features) - attention(spiked)).abs().max()
        assert (change > 1e-3) == max_pool
    assert CAResBlock(16, 16, kind="mb").attention is None


def test_only_the_temporal_map_depends_on_the_other_frame() -> None:
    torch.manual_seed(2)
    student = Student(UvaNetConfig(resolution=32)).train()  # batch statistics keep the signal alive
    now = frames(4, 32)
    with torch.no_grad():
        first, second = student(now, frames(4, 32, 1)), student(now, frames(4, 32, 2))
    torch.testing.assert_close(first[0], second[0])
    assert (first[1] - second[1]).abs().max() > 1e-3


def test_temporal_features_are_the_frame_and_what_changed() -> None:
    current, other = torch.full((1, 64, 8, 8), 3.0), torch.full((1, 64, 8, 8), 5.0)
    features = temporal_features(current, other)
    assert features.shape == (1, 128, 8, 8)
    assert (features[:, :64] == 3).all()
    assert (features[:, 64:] == -2).all()


def test_the_spatiotemporal_network_starts_from_the_student() -> None:
    student = Student(UvaNetConfig(resolution=32))
    network = UvaNet.from_student(student)
    ours, theirs = network.state_dict(), student.state_dict()
    for name, value in ours.items():
        if not name.startswith("decoder"):
            torch.testing.assert_close(value, theirs[name], msg=name)


def test_normalisation_is_exact() -> None:
    values = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    expected = (values.permute(0, 3, 1, 2).double() - 128) / 128
    assert torch.equal(normalize(values).double(), expected)


@pytest.mark.parametrize("output", ["peak", "sigmoid", "clamp"])
def test_maps_lie_in_0_to_1(output: str) -> None:
    logits = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3)) * 20
    maps = to_map(logits, output)  # type: ignore[arg-type]
    assert maps.min() >= 0
    assert maps.max() <= 1
    if output == "peak":
        assert torch.equal(maps.amax((1, 2)), torch.ones(3))
        assert torch.equal(maps.flatten(1).argmax(1), logits.flatten(1).argmax(1))


def test_a_wider_network_has_so_many_times_the_channels() -> None:
    narrow, wide = UvaNet(UvaNetConfig(32)), UvaNet(UvaNetConfig(32, width=2))
    assert wide.config.state_shape == (1, 128, 8, 8)
    assert [tuple(network.low_level[0][0].weight.shape) for network in (narrow, wide)] == [
        (16, 3, 3, 3),
        (32, 3, 3, 3),
    ]
    parameters = [sum(value.numel() for value in network.parameters()) for network in (narrow, wide)]
    # Convolutions grow by four; depthwise ones, batch norms and biases, which are few, by two.
    assert parameters == [165_337, 632_497]


@pytest.mark.parametrize("branches", ["spatial", "temporal"])
def test_one_branch_alone(branches: str) -> None:
    torch.manual_seed(4)
    network = UvaNet(UvaNetConfig(32, branches=branches)).train()  # type: ignore[arg-type]
    now = frames(4, 32)
    with torch.no_grad():
        logits = [network(now, frames(4, 32, seed)) for seed in (1, 2)]
        paths = network.paths(network.features(now), network.features(now))
    assert logits[0].shape == (4, 32, 32)
    assert paths.shape == (4, 128, 8, 8)
    moved = (logits[0] - logits[1]).abs().max()
    assert (moved > 1e-3) == (branches == "temporal"), moved
    whole = sum(value.numel() for value in UvaNet(UvaNetConfig(32)).parameters())
    assert sum(value.numel() for value in network.parameters()) < 0.75 * whole


@pytest.mark.parametrize("branches", ["spatial", "temporal"])
def test_one_branch_keeps_the_contract_of_a_stream(branches: str) -> None:
    """Frames and state in, maps and state out, though the spatial branch has no use for the state."""
    network = UvaNet(UvaNetConfig(32, branches=branches)).eval()  # type: ignore[arg-type]
    step, clip = ClipStep(network), frames(3, 32)
    with torch.inference_mode():
        state = torch.zeros(network.config.state_shape)
        maps, last = step(clip, state)
        for index in range(3):
            one, state = step(clip[index : index + 1], state)
            torch.testing.assert_close(one[0], maps[index], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=0)
    assert last.shape == network.config.state_shape


def test_the_spatial_branch_alone_can_be_exported() -> None:
    """An input that no output depends on must not be pruned: it would break the contract."""
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    import onnxruntime

    from uva_edge.export.bundles import contract_of
    from uva_edge.export.onnx import to_onnx

    torch.manual_seed(6)
    network = UvaNet(UvaNetConfig(32, branches="spatial")).eval()
    data = to_onnx(ClipStep(folded(network)).eval(), contract_of(network))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    clip, state = frames(3, 32), torch.rand(network.config.state_shape)
    values = [clip.numpy(), state.numpy()]
    names = [item.name for item in session.get_inputs()]
    maps, last = session.run(None, dict(zip(names, values, strict=True)))
    with torch.inference_mode():
        expected = ClipStep(network)(clip, state)
    torch.testing.assert_close(torch.from_numpy(maps), expected[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.from_numpy(last), expected[1], atol=1e-4, rtol=0)
