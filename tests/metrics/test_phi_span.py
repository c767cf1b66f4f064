import pytest
import torch
from draws import normal, uniform
from torch.testing import assert_close

from memzoo.errors import NonFiniteError
from memzoo.metrics.phi_span import PhiSpanResidual, phi_span_residual
from memzoo.metrics.span import span_residual

ACTIVATIONS = {
    "sigmoid": (torch.sigmoid, torch.logit),
    "tanh": (torch.tanh, torch.atanh),
    "decreasing": (lambda v: torch.exp(-v), lambda y: -torch.log(y)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_output_of_the_least_norm_solution_is_in_the_phi_span(name):
    phi, inverse = ACTIVATIONS[name]
    examples = phi(normal(3, 1, 2, 4))
    x = examples.flatten(1).mT
    a = inverse(x) @ torch.linalg.pinv(x)  # Theorem 1: A = phi^-1(X) X^+
    inputs = normal(20, 8)
    outputs = phi(inputs @ a.mT).reshape(20, 1, 2, 4)
    assert phi_span_residual(outputs, examples, inverse).max() < 1e-10
    assert phi_span_residual(outputs, examples[:2], inverse).max() > 0.1
    assert span_residual(outputs, examples).max() > 0.05  # another set than the linear span


def test_it_is_the_span_residual_before_the_activation():
    v = normal(6, 5)
    u = normal(2, 5)
    expected = span_residual(v, u)
    assert_close(phi_span_residual(v.tanh(), u.tanh(), torch.atanh), expected)
    assert_close(phi_span_residual(v, u, lambda y: y), expected, rtol=0, atol=0)


def test_permuting_coordinates_and_examples_changes_nothing():
    outputs = uniform(6, 5)
    examples = uniform(3, 5)
    expected = phi_span_residual(outputs, examples, torch.logit)
    moved = phi_span_residual(outputs[:, [3, 1, 4, 0, 2]], examples[[2, 0, 1]][:, [3, 1, 4, 0, 2]], torch.logit)
    assert_close(moved, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_preimages_that_are_multiples_span_one_direction(dtype):
    # sigmoid(v) and sigmoid(2v) are independent, their preimages are not; in float32 only up to rounding
    v = torch.linspace(0.2, 3, 7, dtype=torch.float64)
    examples = torch.stack([v.sigmoid(), (2 * v).sigmoid()]).to(dtype)
    outside = normal(4, 7)
    outside -= outside @ v[:, None] * v / (v @ v)
    residual = phi_span_residual(outside.sigmoid(), examples, torch.logit)
    expected = torch.ones(4, dtype=torch.float64)
    assert_close(residual, expected, rtol=0, atol=1e-5)
    second = torch.linalg.svd(torch.logit(examples.double()), full_matrices=False).Vh[1:]
    found = phi_span_residual(second.sigmoid(), examples, torch.logit).item()
    assert found == pytest.approx(1, abs=1e-5)


def test_rounding_that_leaves_the_range_is_not_counted():
    # arcsech-like: a range (1, 2) that one unit towards zero can leave
    examples = torch.tensor([[1 + 1e-7, 1.5]], dtype=torch.float32)
    residual = phi_span_residual(examples, examples, lambda y: torch.logit(y - 1))
    assert residual.item() == pytest.approx(0, abs=1e-12)


def test_the_middle_of_the_sigmoid_has_preimage_zero():
    outputs = torch.full((1, 3), 0.5)
    found = phi_span_residual(outputs, torch.rand(1, 3), torch.logit).tolist()
    assert found == [0]


def test_an_output_that_is_not_finite_gives_nan():
    outputs = torch.tensor([[torch.nan, 0.5], [0.5, 0.6]])
    found = phi_span_residual(outputs, torch.rand(1, 2), torch.logit).isnan().tolist()
    assert found == [True, False]


def test_metric_averages():
    examples = torch.rand(2, 1, 3)
    outputs = torch.rand(7, 1, 3)
    metric = PhiSpanResidual(examples, torch.logit)
    metric.update(outputs[:2])
    metric.update(outputs[2:])
    expected = phi_span_residual(outputs, examples, torch.logit).mean()
    assert_close(metric.compute(), expected)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.2])
def test_outputs_outside_the_open_range_are_refused(value):
    outputs = torch.tensor([[0.5, value]])
    inside = torch.full((1, 2), 0.3)
    metric = PhiSpanResidual(inside, torch.logit)
    with pytest.raises(
        ValueError, match=rf"outputs must lie inside the open range of phi.*1 of 2 .* from {value:g} to"
    ):
        metric.update(outputs)
    with pytest.raises(ValueError, match="examples must lie inside the open range of phi"):
        PhiSpanResidual(outputs, torch.logit)


def test_other_errors():
    points = torch.rand(2, 3)
    with pytest.raises(ValueError, match="outputs and examples must be points of one space"):
        phi_span_residual(points, torch.rand(2, 4), torch.logit)
    with pytest.raises(ValueError, match="outputs and examples must be points of one space"):
        PhiSpanResidual(torch.rand(2, 4), torch.logit).update(points)
    with pytest.raises(ValueError, match=r"map each coordinate alone, but \(2, 3\) became \(2,\)"):
        phi_span_residual(points, points, lambda y: y.sum(1))
    with pytest.raises(ValueError, match=r"map each coordinate alone, but \(2, 3\) became tuple"):
        phi_span_residual(points, points, lambda y: (y,))
    with pytest.raises(NonFiniteError, match="examples holds NaN"):
        phi_span_residual(points, torch.full((2, 3), torch.nan), torch.logit)


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_small_preimages_count_where_rounding_leaves_the_range(scale):
    # a range that begins at 1: one unit towards zero has no preimage, so that nothing is allowed for
    def inverse(y):
        return (y - 1).sqrt() * scale

    examples = torch.tensor([[1.0, 1.25]], dtype=torch.float64)
    outputs = torch.tensor([[1.0, 1.5], [1.5, 1.0]], dtype=torch.float64)
    assert phi_span_residual(outputs, examples, inverse).tolist() == pytest.approx([0, 1])
