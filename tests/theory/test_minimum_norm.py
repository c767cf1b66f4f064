"""Gradient descent on one linear layer: Section 2, Supplements A and I.2."""

import math

import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.theory import (
    gradient_descent_solution,
    minimum_norm_solution,
    singular_value_bound,
    span_of,
    step_bound,
)


def descend(x, lr, steps, start=None):
    """Run gradient descent on half the sum of squares, with the gradient by autograd."""
    a = (torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype) if start is None else start.clone()).requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(0.5 * (x @ a.T - x).square().sum(), a)
        a = (a - lr * gradient).detach().requires_grad_()
    return a.detach()


@pytest.mark.parametrize("with_start", [False, True])
@pytest.mark.parametrize("t", [0, 1, 7, 300])
def test_closed_form_is_gradient_descent_at_every_time(t, with_start):
    x = normal(3, 6)
    start = normal(6, 6) if with_start else None
    lr = 0.9 * step_bound(x)
    expected = descend(x, lr, t, start)
    assert_close(gradient_descent_solution(x, lr, t, start), expected, rtol=0, atol=1e-12)


def test_between_one_and_two_over_lambda_it_overshoots_to_the_same_limit():
    x = normal(3, 6)
    lr = 1.9 * step_bound(x)
    for t in (1, 2, 25):
        found = gradient_descent_solution(x, lr, t, overshoot=True)
        assert_close(found, descend(x, lr, t), rtol=0, atol=1e-12)
    limit = gradient_descent_solution(x, lr, math.inf, overshoot=True)
    assert_close(limit, minimum_norm_solution(x))
    top = span_of(x).basis[:, 0]
    assert (top @ gradient_descent_solution(x, lr, 1, overshoot=True) @ top).item() == pytest.approx(1.9)


def test_limit_is_the_projection_and_the_minimum_norm_solution():
    x = normal(3, 7)
    limit = gradient_descent_solution(x, 0.5 * step_bound(x), math.inf)
    assert_close(limit, torch.linalg.lstsq(x, x).solution.T)  # the driver's least-norm solution
    # after so many steps nothing is left of the start
    assert_close(gradient_descent_solution(x, 0.5 * step_bound(x), 10**6), limit)
    values = torch.linalg.eigvalsh(limit)
    # a projection on three examples in seven dimensions
    expected = torch.tensor([0.0] * 4 + [1.0] * 3, dtype=torch.float64)
    assert_close(values, expected)


def test_dependent_and_zero_examples_span_what_they_span():
    x = torch.randn(2, 5)
    x = torch.cat([x, x[:1] + x[1:], torch.zeros(1, 5)])  # the sum is rounded to float32
    assert span_of(x).rank == 2
    assert minimum_norm_solution(x).trace().item() == pytest.approx(2, abs=1e-5)
    zeros = torch.zeros(2, 3)
    assert step_bound(zeros) == math.inf
    assert (minimum_norm_solution(zeros) == 0).all()
    assert (gradient_descent_solution(zeros, 5.0, 4) == 0).all()


def test_what_the_start_has_outside_the_span_stays():
    x = normal(3, 6)
    start = normal(6, 6)
    limit = minimum_norm_solution(x, start)
    expected = gradient_descent_solution(x, 0.9 * step_bound(x), math.inf, start)
    assert_close(limit, expected)
    outside = torch.linalg.qr(x.T, mode="complete").Q[:, 3:]
    assert_close(limit @ outside, start @ outside)
    assert_close(x @ limit.T, x)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_singular_values_stay_below_the_bound(scale):
    for _ in range(20):
        x = normal(3, 6)
        start = scale * normal(6, 6)
        singular = torch.linalg.svdvals(minimum_norm_solution(x, start))
        assert (singular <= singular_value_bound(x, start) + 1e-12).all()


def test_the_bound_is_reached():
    x = torch.eye(2, 4, dtype=torch.float64)
    start = 0.5 * torch.eye(4, dtype=torch.float64)[[2, 3, 0, 1]]  # sends what is orthogonal into the span
    expected = torch.tensor([1.5, 1.5, 0.5, 0.5], dtype=torch.float64)
    assert_close(singular_value_bound(x, start), expected)
    outside = torch.linalg.svdvals(minimum_norm_solution(x, 0.5 * torch.eye(4, dtype=torch.float64)))
    assert_close(outside[2:], expected[2:])


def test_dtype_is_kept():
    x = torch.randn(2, 3)
    assert gradient_descent_solution(x, 0.01, 3).dtype == torch.float32
    assert minimum_norm_solution(x.double()).dtype == torch.float64
    assert singular_value_bound(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number > 0, got 0.0"),
        ({"lr": math.nan}, "lr must be a finite number > 0"),
        ({"lr": 0.25}, r"needs lr < 1/lambda_1\(S\) = 0.25 .*overshoot=True"),
        ({"lr": 0.5}, r"does not converge on these examples: it needs lr < 2/lambda_1\(S\) = 0.5"),
        ({"lr": 0.5, "overshoot": True}, "does not converge"),
        ({"t": -1}, "steps must be a whole number >= 0"),
        ({"t": 1.5}, r"steps must be a whole number >= 0, got 1.5"),
        ({"t": math.nan}, "steps must be a whole number"),
        ({"start": torch.eye(3)}, r"start must be a matrix of examples' dimension, \(2, 2\)"),
    ],
)
def test_refusals(arguments, message):
    x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        gradient_descent_solution(**{"examples": x, "lr": 0.1, "t": 1, **arguments})
