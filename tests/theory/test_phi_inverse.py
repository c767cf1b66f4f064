import math

import pytest
import torch
from draws import normal, uniform

from memzoo.errors import NonFiniteError
from memzoo.theory import (
    PHIS,
    Phi,
    adaptive_descent,
    adaptive_rates,
    adaptive_step_bound,
    check_assumptions,
    is_solvable,
    minimum_norm_preimage,
    phi_named,
    rank_counterexample,
    rank_of_examples,
    rank_of_solution,
    register_phi,
)

BUILT_IN = ("sigmoid", "tanh", "reflected_sigmoid")
BELOW = torch.tensor([[0.45, 0.4, 0.1, 0.1], [0.1, 0.15, 0.4, 0.45]], dtype=torch.float64)
ABOVE = 1 - BELOW


def cases():
    return [("sigmoid", BELOW), ("sigmoid", ABOVE), ("tanh", BELOW), ("reflected_sigmoid", BELOW)]


@pytest.mark.parametrize("name", BUILT_IN)
def test_value_inverse_and_derivative_belong_together(name):
    phi = phi_named(name)
    z = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    value = phi.value(z)
    torch.testing.assert_close(phi.inverse(value), z, rtol=0, atol=1e-9)
    torch.testing.assert_close(phi.derivative(z), torch.autograd.grad(value.sum(), z)[0])
    assert ((value > phi.low) & (value < phi.high)).all()
    ends = phi.value(torch.tensor([-60.0, 60.0], dtype=torch.float64)).sort().values
    torch.testing.assert_close(ends, torch.tensor([phi.low, phi.high], dtype=torch.float64))


@pytest.mark.parametrize("name", BUILT_IN)
def test_closed_form_makes_phi_eigenvectors_and_has_the_least_norm(name):
    x = 0.1 + 0.8 * uniform(3, 6)
    a = minimum_norm_preimage(x, name)
    torch.testing.assert_close(phi_named(name).value(x @ a.T), x)
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
    torch.testing.assert_close(adaptive_descent(x, name, steps=12_000), solution, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "x"), cases())
def test_every_step_comes_closer_to_the_solution(name, x):
    """Gradient descent on a convex function whose minimum over the span is the solution, so distances fall."""
    solution = minimum_norm_preimage(x, name)
    a = torch.zeros(4, 4, dtype=torch.float64)
    distances = []
    for _ in range(200):
        distances.append((a - solution).norm())
        a = adaptive_descent(x, name, 0.99 * adaptive_step_bound(x), steps=1, start=a)
    assert (torch.stack(distances).diff() < 0).all()


def test_entries_do_not_grow_one_by_one_as_the_proof_has_it():
    """The paper's proof: all entries of A(t) rise from 0. Here the limit has entries of both signs in one row."""
    solution = minimum_norm_preimage(BELOW, "reflected_sigmoid")
    assert (phi_named("reflected_sigmoid").inverse(BELOW) > 0).all()
    assert (solution < -0.1).any()
    torch.testing.assert_close(adaptive_descent(BELOW, "reflected_sigmoid", steps=12_000), solution)


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
    """Row j: a_j += sum_i gamma_i^(t) phi'(a_j x_i) (x_ij - phi(a_j x_i)) x_i with gamma_i^(t) = -(g / s_ij) / phi'."""
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
    torch.testing.assert_close(adaptive_descent(x, "sigmoid", g, 1, start), expected)


@pytest.mark.parametrize(("name", "x"), cases())
def test_a_constant_step_ends_at_the_same_solution(name, x):
    """The paper only suspects it: both descents stay in the span of the examples, where the solution is unique."""
    phi = phi_named(name)
    a = torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(12_000):
        z = x @ a.T
        a -= 0.9 * ((phi.value(z) - x) * phi.derivative(z)).T @ x
    torch.testing.assert_close(a, minimum_norm_preimage(x, name), rtol=0, atol=1e-8)


def test_step_bound_by_loops():
    x = 0.05 + 0.9 * uniform(3, 5)
    ratio = max((x[i, j] / x[i, k]).item() for i in range(3) for j in range(5) for k in range(5))
    assert adaptive_step_bound(x) == pytest.approx(1 / (3 * 5 * ratio))
    with pytest.raises(ValueError, match=r"needs coordinates > 0 \(Assumption 1a\), the smallest is -1"):
        adaptive_step_bound(torch.tensor([[-1.0, 1.0]]))


def test_rates_are_continuous_at_phi_of_zero():
    near = torch.tensor([[0.5 - 1e-5, 0.5, 0.5 + 1e-5]], dtype=torch.float64)
    expected = torch.full_like(near, -0.25)
    torch.testing.assert_close(adaptive_rates(near, "sigmoid"), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "name", "violated"),
    [
        (BELOW, "sigmoid", ()),
        (torch.cat([BELOW[:, :2], ABOVE[:, 2:]], 1), "sigmoid", ()),  # each coordinate has its own side
        (BELOW[:, :2], "sigmoid", ("n < d",)),
        (torch.tensor([[0.1, 1.0, 0.3]]), "sigmoid", ("1a",)),
        (torch.tensor([[0.1, 0.2, -0.3]]), "tanh", ("1a",)),
        (torch.tensor([[0.1, 0.0, 0.3]]), "tanh", ("1a", "1b")),
        (torch.tensor([[0.1, 0.7, 0.2], [0.2, 0.3, 0.4]]), "sigmoid", ("1b",)),
        (torch.tensor([[0.1, 0.5, 0.2]]), "sigmoid", ("1b",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "steepening", ("1c",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "straight", ("1c",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "turning", ("1c",)),
        (torch.full((1, 3), 0.4999995, dtype=torch.float64), "just turned", ("1c",)),
        (torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.2, 0.1, 0.4, 0.3], [0.15, 0.25, 0.3, 0.3]]), "sigmoid", ("solvable",)),
    ],
)
def test_each_violated_assumption_is_named(x, name, violated):
    own = {
        "steepening": Phi("steepening", torch.expm1, torch.log1p, torch.exp, -1.0),
        "straight": Phi("straight", lambda z: z, lambda y: y, torch.ones_like),
        # a branch of (z - 1/4)^2 - 1/16, which turns between 0 and the preimage 1/4 + sqrt(y + 1/16)
        "turning": Phi("turning", lambda z: z**2 - z / 2, lambda y: 0.25 + (y + 1 / 16).sqrt(), lambda z: 2 * z - 0.5),
    }
    own["just turned"] = Phi("just turned", lambda z: z - z**2 / 2, lambda y: 1 + (1 - 2 * y).sqrt(), lambda z: 1 - z)
    report = check_assumptions(x, own.get(name, name))
    assert report.violated == violated
    assert report.hold == (not violated)
    for word in violated:
        assert word.replace("solvable", "no A satisfies") in str(report)
    assert violated or str(report) == "all hold"


def test_dependent_examples_may_have_no_solution():
    x = torch.cat([BELOW, BELOW.mean(0, keepdim=True)])
    assert not is_solvable(x, "sigmoid")
    with pytest.raises(ValueError, match=r"no matrix fits A x_i = phi\^-1\(x_i\)"):
        minimum_norm_preimage(x, "sigmoid")
    twice = torch.cat([BELOW, BELOW]).float()
    torch.testing.assert_close(torch.sigmoid(twice @ minimum_norm_preimage(twice, "sigmoid").T), twice)


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


def test_the_rank_is_that_of_the_preimages_not_of_the_examples():
    v = torch.tensor([0.3, 0.8, 1.1, 0.5, 0.2], dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        pair = rank_counterexample(v.to(dtype), "sigmoid")
        assert check_assumptions(pair, "sigmoid").hold
        assert (rank_of_examples(pair), rank_of_solution(pair, "sigmoid")) == (2, 1)
    a = minimum_norm_preimage(torch.sigmoid(torch.stack([v, 2 * v])), "sigmoid")
    singular = torch.linalg.svdvals(a)
    assert singular[1] < 1e-12 * singular[0]


def test_descent_finds_the_solution_of_rank_one():
    pair = rank_counterexample(torch.tensor([-1.5, 1.5, 0.5], dtype=torch.float64), "sigmoid")
    singular = torch.linalg.svdvals(adaptive_descent(pair, "sigmoid", 0.1, steps=30000))
    assert singular[1] < 1e-3 * singular[0]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_independent_examples_have_a_solution_of_the_rank_of_their_preimages(n):
    x = 0.1 + 0.8 * uniform(n, 6)
    solution = minimum_norm_preimage(x, "tanh")
    assert torch.linalg.matrix_rank(solution) == rank_of_solution(x, "tanh") == rank_of_examples(x) == n


def test_names():
    assert set(BUILT_IN) <= PHIS.keys()
    with pytest.raises(ValueError, match=r"no phi is named 'sigmod', known are sigmoid, tanh"):
        phi_named("sigmod")
    with pytest.raises(ValueError, match="a phi named 'tanh' is registered already"):
        register_phi(Phi("tanh", torch.sin, torch.asin, torch.cos))
    assert math.isinf(Phi("own", torch.sinh, torch.asinh, torch.cosh).high)
