"""The blocks against their formulas ([UVA] Eq. 1-2) and the ablations of [UVA]."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from torch import Tensor, nn  # noqa: E402

from uva_edge.models.blocks import BlockKind, CAResBlock, ChannelAttention  # noqa: E402

SHAPES = {"same": (16, 16, 1), "wider": (16, 32, 1), "strided": (16, 16, 2)}


def block(kind: BlockKind, shape: str = "same") -> CAResBlock:
    torch.manual_seed(0)
    inputs, outputs, stride = SHAPES[shape]
    made = CAResBlock(inputs, outputs, stride=stride, kind=kind).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.3, 1.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    if made.attention is not None:
        nn.init.uniform_(made.attention.squeeze.weight)  # no ReLU of the MLP is shut for good
    return made


def pooled_mlp(attention: ChannelAttention, pooled: Tensor) -> Tensor:
    """The shared MLP in plain matrices: [N, C] to [N, C]."""
    first, second = attention.squeeze.weight[:, :, 0, 0], attention.excite.weight[:, :, 0, 0]
    return (pooled @ first.T).relu() @ second.T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["mb", "mb_se", "ca_res"])
def test_a_block_computes_its_formula(kind: BlockKind, shape: str) -> None:
    made = block(kind, shape)
    features = torch.randn(2, 16, 8, 8)
    with torch.inference_mode():
        expected = made.inverted(features)
        if kind != "mb":
            flat = expected.flatten(2)
            total = pooled_mlp(made.attention, flat.mean(2))
            if kind == "ca_res":
                total = total + pooled_mlp(made.attention, flat.amax(2))
            expected = expected * total.sigmoid()[:, :, None, None]
        if shape == "same":
            expected = features + expected
        torch.testing.assert_close(made(features), expected)
        assert expected.shape == (2, SHAPES[shape][1], *((4, 4) if shape == "strided" else (8, 8)))


def test_the_kinds_compute_different_things() -> None:
    features = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain, squeezed, full = (block(kind)(features) for kind in ("mb", "mb_se", "ca_res"))
    for one, other in ((plain, squeezed), (squeezed, full), (plain, full)):
        assert (one - other).abs().max() > 1e-3


def test_the_inverted_residual_expands_works_per_channel_and_projects_linearly() -> None:
    layers = [
        module for module in block("ca_res", "strided").inverted.modules() if not list(module.children())
    ]
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU6"] * 2 + ["Conv2d", "BatchNorm2d"]
    expand, depthwise, project = (layer for layer in layers if isinstance(layer, nn.Conv2d))
    assert (expand.kernel_size, expand.out_channels) == ((1, 1), 32)
    assert (depthwise.kernel_size, depthwise.groups, depthwise.stride) == ((3, 3), 32, (2, 2))
    assert (project.kernel_size, project.out_channels) == ((1, 1), 16)


@pytest.mark.parametrize(("channels", "hidden"), [(16, 2), (32, 2), (64, 4), (128, 8)])
def test_the_attention_is_reduced_by_16_to_2_units_at_least(channels: int, hidden: int) -> None:
    attention = ChannelAttention(channels, max_pool=True)
    shapes = {name: tuple(value.shape) for name, value in attention.state_dict().items()}
    assert shapes == {"squeeze.weight": (hidden, channels, 1, 1), "excite.weight": (channels, hidden, 1, 1)}
