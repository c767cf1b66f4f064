import math

import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.errors import NonFiniteError
from memzoo.metrics.span import SpanResidual, span_residual


def test_residual_is_the_sine_of_the_angle_to_the_span():
    basis = torch.linalg.qr(normal(10, 3)).Q
    inside = basis[:, 0]
    outside = basis[:, 2]
    examples = torch.stack([inside, inside + basis[:, 1]])
    angles = torch.tensor([0.0, 0.3, math.pi / 2], dtype=torch.float64)
    # a multiple does not change the angle
    outputs = 7 * (angles.cos()[:, None] * inside + angles.sin()[:, None] * outside)
    assert_close(span_residual(outputs, examples), angles.sin(), rtol=0, atol=1e-12)


def test_dependent_examples_and_zero_outputs():
    examples = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 0, 0]])
    outputs = torch.tensor([[5.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    found = span_residual(outputs, examples).tolist()
    assert found == [0, 1, 0]


def test_zero_examples_span_nothing():
    found = span_residual(torch.ones(1, 3), torch.zeros(2, 3)).tolist()
    assert found == [1]


def test_rounding_of_float32_examples_adds_no_direction():
    first, second = torch.rand(2, 50)
    examples = torch.stack([first, second, 0.3 * first + 0.7 * second])
    directions = torch.linalg.svd(examples.double(), full_matrices=False).Vh
    assert span_residual(directions, examples)[2] == pytest.approx(1)  # the third is where rounding points
    assert span_residual(directions, examples.double())[2] == pytest.approx(0, abs=1e-9)  # given exactly, it counts


def test_rounding_in_the_decomposition_adds_no_direction():
    # whole numbers, so the 100 examples have rank 2 exactly
    two = torch.randint(-5, 6, (2, 100)).double()
    examples = torch.randint(-5, 6, (100, 2)).double() @ two
    outputs = normal(4, 100)
    basis = torch.linalg.qr(two.mT).Q
    expected = (outputs - outputs @ basis @ basis.mT).norm(dim=1) / outputs.norm(dim=1)
    assert_close(span_residual(outputs, examples), expected, rtol=1e-12, atol=0)


def test_rotating_space_and_mixing_examples_change_nothing():
    rotation = torch.linalg.qr(normal(9, 9)).Q
    examples = normal(3, 9)
    outputs = normal(5, 9)
    mixed = normal(3, 3) @ examples
    expected = span_residual(outputs, examples)
    assert_close(span_residual(outputs @ rotation, examples @ rotation), expected)
    assert_close(span_residual(-3 * outputs, mixed), expected)


def test_an_output_that_is_not_finite_is_no_perfect_one():
    outputs = torch.tensor([[torch.nan, 0], [torch.inf, 0], [1, 0]])
    found = span_residual(outputs, torch.ones(1, 2)).isnan().tolist()
    assert found == [True, True, False]


def test_metric_is_the_mean_over_batches_and_merges_like_processes():
    examples = torch.randn(2, 1, 3, 3)
    outputs = torch.randn(8, 1, 3, 3)
    expected = span_residual(outputs, examples).mean()
    metric = SpanResidual(examples)
    other = SpanResidual(examples)
    metric.update(outputs[:3])
    other.update(outputs[3:])
    metric.merge_state(other)
    assert_close(metric.compute(), expected)


def test_shapes():
    with pytest.raises(ValueError, match=r"outputs and examples must be points of one space"):
        span_residual(torch.zeros(1, 3), torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"outputs and examples must be points of one space"):
        SpanResidual(torch.ones(1, 4)).update(torch.zeros(1, 3))
    with pytest.raises(NonFiniteError, match="examples holds NaN or infinity in 1 of 2 rows"):
        SpanResidual(torch.tensor([[1.0], [torch.nan]]))
