"""The closed form and the descent of Theorem 1."""

import pytest
import torch
from draws import normal, uniform
from torch.testing import assert_close

from memzoo.errors import NonFiniteError
from memzoo.theory import (
    Phi,
    adaptive_descent,
    adaptive_rates,
    adaptive_step_bound,
    check_assumptions,
    is_solvable,
    minimum_norm_preimage,
    phi_named,
)

BUILT_IN = ("sigmoid", "tanh", "reflected_sigmoid")


BELOW = torch.tensor([[0.45, 0.4, 0.1, 0.1], [0.1, 0.15, 0.4, 0.45]], dtype=torch.float64)


ABOVE = 1 - BELOW


def cases():
    return [("sigmoid", BELOW), ("sigmoid", ABOVE), ("tanh", BELOW), ("reflected_sigmoid", BELOW)]


@pytest.mark.parametrize("name", BUILT_IN)
def test_closed_form_makes_phi_eigenvectors_and_has_the_least_norm(name):
    x = 0.1 + 0.8 * uniform(3, 6)
    a = minimum_norm_preimage(x, name)
    assert_close(phi_named(name).value(x @ a.T), x)
    outside = torch.linalg.qr(x.T, mode="complete").Q[:, 3:]
    assert (a @ outside).norm() < 1e-12  # any other solution adds something here, orthogonal to A
    preimages = phi_named(name).inverse(x)
    image = normal(5, 6) @ a.T  # phi of it lies in the phi-span
    reached = torch.linalg.lstsq(preimages.T, image.T).residuals
    assert (image.T - preimages.T @ torch.linalg.lstsq(preimages.T, image.T).solution).norm() < 1e-10, reached


@pytest.mark.parametrize(("name", "x"), cases())
def test_adaptive_descent_converges_to_the_closed_form(name, x):
    assert check_assumptions(x, name).hold
    solution = minimum_norm_preimage(x, name)
    assert_close(adaptive_descent(x, name, steps=12_000), solution, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "x"), cases())
def test_every_step_comes_closer_to_the_solution(name, x):
    # This is gradient descent on a convex function whose minimum over the span is the solution, so distances fall.
    solution = minimum_norm_preimage(x, name)
    a = torch.zeros(4, 4, dtype=torch.float64)
    distances = []
    for _ in range(200):
        distances.append((a - solution).norm())
        a = adaptive_descent(x, name, 0.99 * adaptive_step_bound(x), steps=1, start=a)
    assert (torch.stack(distances).diff() < 0).all()


def test_entries_do_not_grow_one_by_one_as_the_proof_has_it():
    # In the paper's proof all entries of A(t) rise from 0. Here the limit has entries of both signs in one row.
    solution = minimum_norm_preimage(BELOW, "reflected_sigmoid")
    assert (phi_named("reflected_sigmoid").inverse(BELOW) > 0).all()
    assert (solution < -0.1).any()
    assert_close(adaptive_descent(BELOW, "reflected_sigmoid", steps=12_000), solution)


@pytest.mark.parametrize(("name", "x"), cases())
def test_the_sign_printed_in_the_paper_diverges(name, x):
    phi = phi_named(name)
    rates = adaptive_rates(x, name)
    lr = 0.9 * adaptive_step_bound(x)
    a = torch.zeros(4, 4, dtype=torch.float64)
    start = (phi.at_zero - x).norm()
    for _ in range(2000):
        a += lr * ((phi.value(x @ a.T) - x) / -rates).T @ x
    assert (phi.value(x @ a.T) - x).norm() > 1.1 * start
    assert a.norm() > 20 * minimum_norm_preimage(x, name).norm()


def test_one_step_is_the_update_as_printed():
    # Row j: a_j += sum_i gamma_i^(t) phi'(a_j x_i) (x_ij - phi(a_j x_i)) x_i with gamma_i^(t) = -(g / s_ij) / phi'.
    x = BELOW
    phi = phi_named("sigmoid")
    g = 0.01
    start = 0.1 * normal(4, 4)
    expected = start.clone()
    for j in range(4):
        for i in range(2):
            z = start[j] @ x[i]
            s = (0.5 - x[i, j]) / torch.log(x[i, j] / (1 - x[i, j]))
            slope = phi.value(z) * (1 - phi.value(z))
            expected[j] += -(g / s) / slope * slope * (x[i, j] - phi.value(z)) * x[i]
    assert_close(adaptive_descent(x, "sigmoid", g, 1, start), expected)


@pytest.mark.parametrize(("name", "x"), cases())
def test_a_constant_step_ends_at_the_same_solution(name, x):
    # The paper only suspects it: both descents stay in the span of the examples, where the solution is unique.
    phi = phi_named(name)
    a = torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(12_000):
        z = x @ a.T
        a -= 0.9 * ((phi.value(z) - x) * phi.derivative(z)).T @ x
    assert_close(a, minimum_norm_preimage(x, name), rtol=0, atol=1e-8)


def test_step_bound_by_loops():
    x = 0.05 + 0.9 * uniform(3, 5)
    ratio = max((x[i, j] / x[i, k]).item() for i in range(3) for j in range(5) for k in range(5))
    # 1 / (n d max x_ij / x_ik), over all i, j and k
    assert adaptive_step_bound(x) == pytest.approx(1 / (3 * 5 * ratio))
    with pytest.raises(ValueError, match=r"needs coordinates > 0 \(Assumption 1a\), the smallest is -1"):
        adaptive_step_bound(torch.tensor([[-1.0, 1.0]]))


def test_rates_are_continuous_at_phi_of_zero():
    near = torch.tensor([[0.5 - 1e-5, 0.5, 0.5 + 1e-5]], dtype=torch.float64)
    expected = torch.full_like(near, -0.25)
    assert_close(adaptive_rates(near, "sigmoid"), expected, rtol=0, atol=1e-9)


def test_dependent_examples_may_have_no_solution():
    x = torch.cat([BELOW, BELOW.mean(0, keepdim=True)])
    assert not is_solvable(x, "sigmoid")
    with pytest.raises(ValueError, match=r"no matrix fits A x_i = phi\^-1\(x_i\)"):
        minimum_norm_preimage(x, "sigmoid")
    twice = torch.cat([BELOW, BELOW]).float()
    assert_close(torch.sigmoid(twice @ minimum_norm_preimage(twice, "sigmoid").T), twice)


def test_preimages_need_the_range():
    with pytest.raises(ValueError, match=r"1 of 2 coordinates lie outside the open range \(0, 1\) of phi = sigmoid"):
        minimum_norm_preimage(torch.tensor([[0.5, 1.0]]), "sigmoid")
    broken = Phi("broken", torch.sigmoid, lambda x: x / 0, torch.sigmoid)
    with pytest.raises(NonFiniteError, match="the inverse of phi = broken is not finite"):
        broken.preimage(torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match="lr must be a finite number > 0, got -1"):
        adaptive_descent(BELOW, "sigmoid", -1)
    with pytest.raises(ValueError, match="steps must be a whole number"):
        adaptive_descent(BELOW, "sigmoid", steps=-1)
