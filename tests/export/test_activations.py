"""Activation memory: by hand on small graphs, in agreement between ONNX and OpenVINO, and smaller in eight bits."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.export.activations import Activations, onnx_activations, openvino_activations  # noqa: E402
from uva_edge.export.artifacts import Material  # noqa: E402
from uva_edge.export.onnx_int8 import Setting, to_int8  # noqa: E402

CELLS = 4 * 4
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
clip_step (uint8[T, 4, 4] frames, float[T, 4, 4] state_in) => (float[T, 4, 4] maps, float[T, 4, 4] state_out)
<float half = {0.5}>
{
    whole = Cast<to = 1>(frames)
    scaled = Mul(whole, half)
    maps = Add(scaled, state_in)
    state_out = Sigmoid(scaled)
}
"""


def test_by_hand() -> None:
    """`scaled` has the place of `whole`; the frames are done with after the first operator."""
    graph = onnx.parser.parse_model(GRAPH).SerializeToString()
    frames, float32 = CELLS, 4 * CELLS
    # frames, state_in, whole, maps, state_out; and, while the sum is made, state_in, scaled and maps.
    assert onnx_activations(graph) == Activations(total=frames + 4 * float32, live=3 * float32)


def test_rounded_values_are_bytes() -> None:
    """Between a quantiser and what undoes it there is one byte a cell, unless the float is needed as well."""
    rounded = GRAPH.replace("half = {0.5}", "half = {0.5}, float scale = {0.1}, uint8 zero = {0}").replace(
        "maps = Add(scaled, state_in)",
        "q = QuantizeLinear(scaled, scale, zero) d = DequantizeLinear(q, scale, zero) maps = Add(d, state_in)",
    )
    alone = rounded.replace("Sigmoid(scaled)", "Sigmoid(d)")
    both, one = (
        onnx_activations(onnx.parser.parse_model(text).SerializeToString()).total for text in (rounded, alone)
    )
    assert both == CELLS + 4 * 4 * CELLS + CELLS
    assert one == CELLS + 3 * 4 * CELLS + CELLS


def test_two_formats_agree(material: Material) -> None:
    """To a few per cent: their graphs differ in the operators that compute nothing."""
    pytest.importorskip("openvino", reason="needs the extra 'openvino'")
    from uva_edge.export.openvino import to_openvino

    first, second = onnx_activations(material.graph), openvino_activations(to_openvino(material.graph))
    assert second.live == first.live
    assert second.total == pytest.approx(first.total, rel=0.05)


def test_eight_bits_take_less(material: Material) -> None:
    setting = Setting(per_channel=True, method="percentile", floats="nothing")
    found = to_int8(material.graph, material.feeds, material.judge, settings=[setting])
    float32, int8 = onnx_activations(material.graph), onnx_activations(found.graph)
    assert int8.total < 0.5 * float32.total
    assert int8.live < float32.live


def test_it_grows_with_the_area(material: Material) -> None:
    small = material.activations["activations"]
    large = onnx_activations(Bundle.open("uva-64").read(Bundle.open("uva-64").artifact("onnx-fp32").files[0]))
    assert large.live == pytest.approx(4 * small["live"], rel=0.01)


def test_one_frame_is_what_counts(material: Material) -> None:
    """A static graph and one for any T say the same."""
    from uva_edge.export.onnx import static

    assert onnx_activations(static(material.graph, 1)) == onnx_activations(material.graph)
