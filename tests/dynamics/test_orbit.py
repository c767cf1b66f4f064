import math

import pytest
import torch

from memzoo.dynamics import iterate
from memzoo.errors import NonFiniteError, NotASelfMapError


def test_affine_contraction_follows_its_closed_form():
    # f^t(x) = 2 + (x - 2) / 2^t
    x0 = torch.tensor([[10.0], [-6.0]], dtype=torch.float64)
    orbit = iterate(lambda x: x / 2 + 1, x0, 8, keep=(0, 1, 5))
    for t, points in {**orbit.kept, 8: orbit.points}.items():
        torch.testing.assert_close(points, 2 + (x0 - 2) / 2**t)
    assert not orbit.converged.any()
    torch.testing.assert_close(orbit.residual, ((x0 - 2) / 2**9).abs().squeeze(1))


def test_newton_for_a_square_root_converges_from_both_sides():
    x0 = torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    orbit = iterate(lambda x: (x + 2 / x) / 2, x0, 60)
    torch.testing.assert_close(orbit.points, torch.full_like(x0, 2**0.5))
    assert orbit.converged.all()
    assert orbit.steps[0] < orbit.steps[1] < 20


def test_settled_rows_are_not_evaluated_again_and_keep_their_point():
    evaluated = []

    def f(x):
        evaluated.append(len(x))
        return torch.where(x > 0, x / x.abs(), 0.99 * x)  # positive rows jump onto 1, negative ones crawl

    orbit = iterate(f, torch.tensor([[3.0], [-1.0], [5.0]]), 50)
    assert orbit.converged.tolist() == [True, False, True]
    assert orbit.steps.tolist() == [2, 50, 2]
    assert evaluated[2:-1] == [1] * 48
    assert orbit.points[:, 0].tolist() == pytest.approx([1, -(0.99**50), 1], rel=1e-5)


def test_a_slow_orbit_is_not_taken_for_settled_too_early():
    # radius .9: what is left when the step reaches rounding is ten steps, some 2e-14
    orbit = iterate(lambda x: 2 + 0.9 * (x - 2), torch.tensor([[3.0]], dtype=torch.float64), 1000)
    assert orbit.converged.all()
    assert abs(orbit.points.item() - 2) < 1e-13


def test_divergence_is_a_label_with_the_last_finite_point():
    orbit = iterate(lambda x: x**2, torch.tensor([[10.0], [0.5]]), 200)
    assert orbit.diverged.tolist() == [True, False]
    assert orbit.residual[0] == math.inf
    assert orbit.points.isfinite().all()
    assert orbit.points[1] == 0


def test_a_cycle_never_converges():
    orbit = iterate(lambda x: -x, torch.ones(1, 2), 101)
    assert not orbit.converged
    assert orbit.points.tolist() == [[-1, -1]]


def test_blocks_and_snapshots_after_settling():
    x0 = torch.randn(10, 3)
    whole, parts = iterate(torch.tanh, x0, 30, keep=(30,)), iterate(torch.tanh, x0, 30, block=3)
    torch.testing.assert_close(whole.points, parts.points)
    assert torch.equal(whole.kept[30], whole.points)
    assert torch.equal(iterate(torch.zeros_like, x0, 30, keep=(7,)).kept[7], torch.zeros_like(x0))


def test_errors():
    with pytest.raises(ValueError, match=r"keep holds \[11\], but only t = 0\.\.10"):
        iterate(torch.tanh, torch.zeros(1, 2), 10, keep=(11,))
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 0, got -1"):
        iterate(torch.tanh, torch.zeros(1, 2), -1)
    with pytest.raises(NonFiniteError, match=r"x0 holds NaN or infinity in 1 of 1 rows"):
        iterate(torch.tanh, torch.full((1, 2), torch.nan))
    with pytest.raises(NotASelfMapError, match=r"output is a tuple.*self_map="):
        iterate(lambda x: (x, x), torch.zeros(1, 2))
