"""The clip step: chains equal one long step, the past matters, folding changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.clip_step import ClipStep, folded
from uva_edge.models.uva_net import Pairing, UvaNet, to_map

SIDE = 32


@pytest.fixture(scope="module")
def network(untrained: Path) -> UvaNet:
    return load_checkpoint(untrained)[0]


def clip(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 7), max_size=4), seed=st.integers(0, 99))
def test_a_chain_equals_one_long_step(network: UvaNet, cuts: list[int], seed: int) -> None:
    step, frames = ClipStep(network).eval(), clip(8, seed)
    with torch.inference_mode():
        start = network.features(clip(1, seed + 1))
        whole, last = step(frames, start)
        parts, state = [], start
        for a, b in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), 8], strict=True):
            maps, state = step(frames[a:b], state)
            parts.append(maps)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=0)


@settings(max_examples=10, deadline=None)
@given(streams=st.integers(1, 4), length=st.integers(1, 3), seed=st.integers(0, 99))
def test_streams_beside_each_other_are_streams_alone(
    network: UvaNet, streams: int, length: int, seed: int
) -> None:
    step, frames = ClipStep(network).eval(), clip(length * streams, seed)
    with torch.inference_mode():
        states = network.features(clip(streams, seed + 1))
        maps, after = step(frames, states)
        for stream in range(streams):
            alone, last = step(frames[stream::streams], states[stream : stream + 1])
            torch.testing.assert_close(maps[stream::streams], alone, atol=1e-5, rtol=0)
            torch.testing.assert_close(after[stream : stream + 1], last, atol=1e-5, rtol=0)


def test_another_past_changes_the_first_map_alone(network: UvaNet) -> None:
    step, frames = ClipStep(network).eval(), clip(3)
    with torch.inference_mode():
        one, _ = step(frames, network.features(clip(1, 7)))
        two, _ = step(frames, network.features(clip(1, 8)))
    assert (one[0] - two[0]).abs().max() > 1e-3
    torch.testing.assert_close(one[1:], two[1:])


@pytest.mark.parametrize("pairing", ["causal", "lookahead"])
def test_maps_are_those_of_the_pairs(network: UvaNet, pairing: Pairing) -> None:
    paired = UvaNet(replace(network.config, pairing=pairing)).eval()
    paired.load_state_dict(network.state_dict())
    frames, before = clip(4), clip(1, 9)
    with torch.inference_mode():
        maps, _ = ClipStep(paired)(frames, paired.features(before))
        past = torch.cat((before, frames[:-1]))
        causal, lookahead = (to_map(paired(*pair), "peak") for pair in ((frames, past), (past, frames)))
    expected, other = (causal, lookahead) if pairing == "causal" else (lookahead, causal)
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=0)
    assert (maps - other).abs().amax((1, 2)).min() > 0.1


def test_folding_changes_no_number_and_not_the_original(network: UvaNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = folded(network)
    assert not [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    frames, state = clip(4), torch.zeros(network.config.state_shape)
    with torch.inference_mode():
        for ours, theirs in zip(
            ClipStep(plain)(frames, state), ClipStep(network)(frames, state), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
