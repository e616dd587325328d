"""The loss by its terms: hand-made numbers, gradients, and rows with nothing in view."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from torch import Tensor  # noqa: E402

from uva_edge.training.losses import DensityWeights, density_loss  # noqa: E402

NOTHING = {"hard": 0.0, "soft": 0.0, "nss": 0.0, "cc": 0.0}
TERMS = tuple(NOTHING)


def only(term: str, weight: float = 1.0) -> DensityWeights:
    return DensityWeights(**{**NOTHING, term: weight})


def drawn(count: int, seed: int, *, density: bool = True) -> Tensor:
    values = torch.randn(count, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values.flatten(1).softmax(1).view_as(values) if density else values


def counts(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (count, 6, 6), generator=draw).to(torch.float64)


LOGITS = drawn(3, 0, density=False)
DENSITY, TEACHER, FIXATIONS = drawn(3, 1), drawn(3, 2), counts(3, 3)


def loss(logits: Tensor, weights: DensityWeights) -> Tensor:
    return density_loss(logits, DENSITY, TEACHER, FIXATIONS, weights)


def expected(term: str, row: int) -> float:
    """One term of one row, from its definition."""
    p = LOGITS[row].exp() / LOGITS[row].exp().sum()
    if term == "nss":
        z = (p - p.mean()) / p.std(correction=0)
        return -float((z * FIXATIONS[row]).sum() / FIXATIONS[row].sum())
    if term == "cc":
        return -float(torch.corrcoef(torch.stack((p.flatten(), DENSITY[row].flatten())))[0, 1])
    q = (DENSITY if term == "hard" else TEACHER)[row]
    return float((q * (q / p).log()).sum())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_what_it_is_called(term: str) -> None:
    mean = sum(expected(term, row) for row in range(3)) / 3
    assert loss(LOGITS, only(term)).item() == pytest.approx(mean, abs=1e-5)
    assert abs(mean) > 1e-3
    assert loss(LOGITS, only(term, 2.5)).item() == pytest.approx(2.5 * mean, abs=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = DensityWeights()
    total = sum(loss(LOGITS, only(term, getattr(weights, term))).item() for term in TERMS)
    assert loss(LOGITS, weights).item() == pytest.approx(total)
    assert loss(LOGITS, DensityWeights(**NOTHING)).item() == 0


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_those_of_finite_differences(term: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, only(term)), (logits,), atol=1e-7)


@pytest.mark.parametrize("term", TERMS)
def test_a_row_with_nothing_in_view_has_no_part(term: str) -> None:
    targets = [target.clone() for target in (DENSITY, TEACHER, FIXATIONS)]
    for target in targets:
        target[1] = 0
    logits = LOGITS.clone().requires_grad_()
    value = density_loss(logits, *targets, only(term))
    assert value.item() == pytest.approx((expected(term, 0) + expected(term, 2)) / 3, abs=1e-5)
    value.backward()
    largest = logits.grad.abs().amax((1, 2))
    assert largest[1] == 0
    assert largest[[0, 2]].min() > 1e-5


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_uniform_prediction_has_a_finite_gradient(term: str, dtype: torch.dtype) -> None:
    """As a decoder gives whose last ReLU6 is shut."""
    logits = torch.zeros(3, 6, 6, dtype=dtype, requires_grad=True)
    targets = (target.to(dtype) for target in (DENSITY, TEACHER, FIXATIONS))
    density_loss(logits, *targets, only(term)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("term", TERMS)
def test_the_gradient_leads_to_a_lower_loss(term: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, only(term))
    value.backward()
    assert loss(logits.detach() - 0.05 * logits.grad, only(term)) < value - 1e-6


def test_the_level_of_the_logits_means_nothing() -> None:
    assert loss(LOGITS + 7, DensityWeights()).item() == pytest.approx(loss(LOGITS, DensityWeights()).item())
    huge = loss(LOGITS * 1e4, DensityWeights())
    assert huge.isfinite()
