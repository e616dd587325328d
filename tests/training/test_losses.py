"""The losses by their definitions: hand-made numbers, gradients, and pairs with nothing in view."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from torch import Tensor  # noqa: E402

from uva_edge.errors import OptionError  # noqa: E402
from uva_edge.models.uva_net import Output, to_map  # noqa: E402
from uva_edge.training.losses import Loss, distribution, resized_density  # noqa: E402

OUTPUTS: tuple[Output, ...] = get_args(Output)


def drawn(count: int, seed: int, *, density: bool = True) -> Tensor:
    values = torch.randn(count, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values.flatten(1).softmax(1).view_as(values) if density else values


def counts(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (count, 6, 6), generator=draw).to(torch.float64)


LOGITS = drawn(3, 0, density=False)
DENSITY, TEACHER, FIXATIONS = drawn(3, 1), drawn(3, 2), counts(3, 3)
TARGETS = DENSITY, FIXATIONS, TEACHER

TERMS = {
    "kl": Loss(mu=0, nss=0, cc=0),
    "nss": Loss(mu=0, nss=1, cc=0),
    "cc": Loss(mu=0, nss=0, cc=1),
    "soft": Loss(mu=1),
    "l2": Loss("l2", mu=0),
    "soft_l2": Loss("l2", mu=1),
}
"""Losses of one term, but that `nss` and `cc` come with `kl`."""


def term(name: str, row: int) -> float:
    """One term of one pair, from its definition."""
    p = LOGITS[row].exp() / LOGITS[row].exp().sum()
    target = (TEACHER if name.startswith("soft") else DENSITY)[row]
    if name == "nss":
        z = (p - p.mean()) / p.std(correction=0)
        return -float((z * FIXATIONS[row]).sum() / FIXATIONS[row].sum())
    if name == "cc":
        return -float(torch.corrcoef(torch.stack((p.flatten(), DENSITY[row].flatten())))[0, 1])
    if name.endswith("l2"):
        return float((torch.sigmoid(LOGITS[row]) - target / target.max()).square().mean())
    return float((target * (target / p).log()).sum())


def expected(name: str, rows: tuple[int, ...] = (0, 1, 2)) -> float:
    total = sum(term(name, row) + (term("kl", row) if name in ("nss", "cc") else 0) for row in rows)
    return total / 3


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_what_it_is_called(name: str) -> None:
    assert TERMS[name](LOGITS, *TARGETS, "sigmoid").item() == pytest.approx(expected(name), abs=1e-5)
    assert abs(expected(name)) > 1e-3


@pytest.mark.parametrize("kind", ["density", "l2"])
def test_mu_is_between_the_truth_and_the_teacher(kind: str) -> None:
    """[UVA] Eq. 4 and 5; at its ends the other target plays no part, not even as NaN."""
    values = {mu: Loss(kind, mu)(LOGITS, *TARGETS, "sigmoid").item() for mu in (0.0, 0.3, 1.0)}  # type: ignore[arg-type]
    assert values[0.3] == pytest.approx(0.7 * values[0] + 0.3 * values[1])
    nothing = torch.full_like(DENSITY, torch.nan)
    alone = Loss(kind, 0.0)(LOGITS, DENSITY, FIXATIONS, nothing, "sigmoid")  # type: ignore[arg-type]
    taught = Loss(kind, 1.0)(LOGITS, nothing, nothing, TEACHER, "sigmoid")  # type: ignore[arg-type]
    assert (alone.item(), taught.item()) == pytest.approx((values[0], values[1]))


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_are_those_of_finite_differences(name: str, output: Output) -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: TERMS[name](values, *TARGETS, output), (logits,), atol=1e-7
    )


@pytest.mark.parametrize("name", ["kl", "nss", "cc", "soft"])
def test_a_pair_with_nothing_in_view_has_no_part(name: str) -> None:
    targets = [target.clone() for target in TARGETS]
    for target in targets:
        target[1] = 0
    logits = LOGITS.clone().requires_grad_()
    value = TERMS[name](logits, *targets, "peak")
    assert value.item() == pytest.approx(expected(name, (0, 2)), abs=1e-5)
    value.backward()
    largest = logits.grad.abs().amax((1, 2))
    assert largest[1] == 0
    assert largest[[0, 2]].min() > 1e-5


def test_to_l2_nothing_in_view_is_an_empty_map() -> None:
    nothing = torch.zeros_like(DENSITY)
    value = Loss("l2", mu=0)(LOGITS, nothing, nothing, TEACHER, "sigmoid")
    assert value.item() == pytest.approx(torch.sigmoid(LOGITS).square().mean().item())


@pytest.mark.parametrize("output", OUTPUTS)
def test_l2_compares_the_map_that_ships(output: Output) -> None:
    """But for clamp, whose numbers beyond 0 and 1 must be led back: there the logits are compared."""
    maps = LOGITS if output == "clamp" else to_map(LOGITS, output)
    peaks = DENSITY.amax((1, 2), keepdim=True)
    found = Loss("l2", mu=0)(LOGITS, *TARGETS, output).item()
    assert found == pytest.approx((maps - DENSITY / peaks).square().mean().item())


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_uniform_prediction_has_a_finite_gradient(name: str, dtype: torch.dtype) -> None:
    """As a decoder gives whose last ReLU6 is shut."""
    logits = torch.zeros(3, 6, 6, dtype=dtype, requires_grad=True)
    TERMS[name](logits, *(target.to(dtype) for target in TARGETS), "sigmoid").backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("loss", [Loss(), Loss("l2")], ids=["density", "l2"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_gradient_leads_to_a_lower_loss(loss: Loss, output: Output) -> None:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, *TARGETS, output)
    value.backward()
    assert loss(logits.detach() - 0.05 * logits.grad, *TARGETS, output) < value - 1e-7


def test_to_density_the_level_of_the_logits_means_nothing() -> None:
    loss = Loss()
    assert loss(LOGITS + 7, *TARGETS, "peak").item() == pytest.approx(loss(LOGITS, *TARGETS, "peak").item())
    assert loss(LOGITS * 1e4, *TARGETS, "peak").isfinite()


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "l1"}, {"mu": -0.1}, {"mu": 1.1}, {"mu": float("nan")}, {"nss": -1}, {"cc": -0.5}],
    ids=str,
)
def test_losses_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))!r}"):
        Loss(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_network_teaches_by_its_map_as_a_density(output: Output) -> None:
    logits = LOGITS.clone()
    logits[2] = -30
    taught = distribution(logits, output)
    assert taught[:2].sum((1, 2)).tolist() == pytest.approx([1, 1])
    maps = to_map(logits, output)
    torch.testing.assert_close(taught[0] / taught[0].max(), maps[0] / maps[0].max())
    assert taught.isfinite().all()  # clamped, the last map is empty


@given(
    side=st.integers(4, 48),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    cell=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_a_resized_density_keeps_its_sum(side: int, size: tuple[int, int], cell: tuple[float, float]) -> None:
    """Even where all of it is in one cell that a plain bilinear sample would miss."""
    one = torch.zeros(2, side, side)
    one[0, int(cell[0] * side), int(cell[1] * side)] = 5
    resized = resized_density(one, size)
    assert resized.shape == (2, *size)
    assert resized.sum((1, 2)).tolist() == pytest.approx([5, 0], rel=1e-4)
    assert resized.min() >= 0


def test_a_density_at_its_own_size_is_itself() -> None:
    torch.testing.assert_close(resized_density(DENSITY, (6, 6)), DENSITY)
