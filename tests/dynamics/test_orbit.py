import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import iterate
from memzoo.dynamics.orbits.orbit import OrbitBatch
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import FullyConnected


def test_an_affine_contraction_follows_its_closed_form():
    # f^t(x) = 2 + (x - 2) / 2^t
    x0 = torch.tensor([[10.0], [-6.0]], dtype=torch.float64)
    orbit = iterate(lambda x: x / 2 + 1, x0, 8, keep=(0, 1, 5))
    for t, points in {**orbit.kept, 8: orbit.points}.items():
        torch.testing.assert_close(points, 2 + (x0 - 2) / 2**t)
    assert not orbit.converged.any()
    # x_8 - 2 = (x_0 - 2) / 2^8, and the next step goes half of this way
    expected = ((x0 - 2) / 2**9).abs().squeeze(1)
    torch.testing.assert_close(orbit.residual, expected)


def test_newtons_method_for_a_square_root_converges_from_both_sides():
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

    x0 = torch.tensor([[3.0], [-1.0], [5.0]])
    orbit = iterate(f, x0, 50)
    assert orbit.converged.tolist() == [True, False, True]
    assert orbit.steps.tolist() == [2, 50, 2]
    checked = 4  # evaluations that find the map and check it
    assert evaluated[checked + 2 : -1] == [1] * 48
    expected = [1, -(0.99**50), 1]
    assert orbit.points[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("units", "settled"), [(8, True), (9, False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_of_eight_units_in_the_last_place_counts_as_settled(units, settled, dtype):
    step = units * torch.finfo(dtype).eps
    orbit = iterate(lambda x: x + step, torch.ones(1, 1, dtype=dtype), 1)
    assert orbit.converged.tolist() == [settled]


def test_a_slow_orbit_is_not_taken_for_settled_too_early():
    # radius .9: what is left when the step reaches rounding is ten steps, some 2e-14
    x0 = torch.tensor([[3.0]], dtype=torch.float64)
    orbit = iterate(lambda x: 2 + 0.9 * (x - 2), x0, 1000)
    assert orbit.converged.all()
    assert abs(orbit.points.item() - 2) < 1e-13


def test_divergence_is_a_label_with_the_last_finite_point():
    x0 = torch.tensor([[10.0], [0.5]])
    orbit = iterate(lambda x: x**2, x0, 200)
    assert orbit.diverged.tolist() == [True, False]
    assert orbit.residual[0] == math.inf
    assert orbit.points.isfinite().all()
    assert orbit.points[1] == 0


@pytest.mark.parametrize("latent", [False, True])
def test_a_diverged_orbit_is_nowhere_in_later_snapshots(latent):
    # s -> 4 s along the first axis: 2^1000 leaves the range of float64 after 12 steps
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.PReLU(1), nn.Linear(1, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[4.0, 0, 0]]))
        model[1].weight.fill_(0.125)
        model[2].weight.copy_(torch.tensor([[1.0], [0], [0]]))
    x0 = torch.tensor([[2.0**1000, 0, 0], [-1, 0, 0]], dtype=torch.float64)
    orbit = iterate(model, x0, 40, keep=(11, 12, 40), latent=latent)
    assert orbit.diverged.tolist() == [True, False]
    assert orbit.kept[11][0, 0] == 2.0**1022
    assert orbit.kept[12][0].isnan().all()
    assert orbit.kept[40][0].isnan().all()
    assert orbit.kept[40][1, 0] == -(0.5**40)
    assert orbit.points[0, 0] == 2.0**1022


def test_a_cycle_never_converges():
    orbit = iterate(lambda x: -x, torch.ones(1, 2), 101)
    assert not orbit.converged
    assert orbit.points.tolist() == [[-1, -1]]


def test_orbits_do_not_depend_on_the_blocks_and_snapshots_go_on_after_settling():
    x0 = torch.randn(10, 3)
    whole = iterate(torch.tanh, x0, 30, keep=(30,))
    parts = iterate(torch.tanh, x0, 30, block=3)
    torch.testing.assert_close(whole.points, parts.points)
    assert torch.equal(whole.kept[30], whole.points)
    found = iterate(torch.zeros_like, x0, 30, keep=(7,)).kept[7]
    assert torch.equal(found, torch.zeros_like(x0))


def contract(x):
    """Contract to the whole numbers, each row at its own rate: rows settle at different times, one by one."""
    rate = x[:, 1:]
    return torch.cat([x[:, :1].round() + rate * (x[:, :1] - x[:, :1].round()), rate], 1)


def iterate_plainly(f, x, steps, tol):
    """Iterate row by row, straight from the definition."""
    points = []
    taken = []
    converged = []
    for row in x.split(1):
        count = 0
        done = False
        while count < steps and not done:
            after = f(row)
            count = count + 1
            done = bool((after - row).norm() <= tol * after.norm())
            row = after
        points.append(row)
        taken.append(count)
        converged.append(done)
    return torch.cat(points), taken, converged


@pytest.mark.parametrize("tol", [1e-3, 1e-12])
def test_rows_that_settle_at_different_times_are_each_frozen_at_theirs(tol):
    x0 = torch.cat([10 * torch.randn(40, 1), torch.linspace(0.05, 0.999, 40)[:, None]], 1).double()
    orbit = iterate(contract, x0, 100, tol=tol, keep=(7, 33))
    points, taken, converged = iterate_plainly(contract, x0, 100, tol)
    assert len(set(taken)) > 10
    assert torch.equal(orbit.points, points)
    assert orbit.steps.tolist() == taken
    assert orbit.converged.tolist() == converged
    for t, kept in orbit.kept.items():
        assert torch.equal(kept, iterate_plainly(contract, x0, t, tol)[0])


def test_rows_are_no_longer_evaluated_when_a_quarter_has_settled_or_every_ten_steps():
    evaluated = []

    def f(x):
        evaluated.append(len(x))
        return torch.where(x > 0, x.sign(), 0.99 * x)

    x0 = torch.tensor([[1.0]] * 1 + [[-1.0]] * 9)
    iterate(f, x0, 25)
    checked = 4  # evaluations that find the map and check it
    assert evaluated[checked:][:25] == [10] * 9 + [9] * 16
    evaluated.clear()
    iterate(f, torch.tensor([[1.0]] * 1 + [[-1.0]] * 3), 25)
    assert evaluated[checked:][:25] == [4] + [3] * 24


def test_a_map_is_never_given_what_is_not_finite():
    def f(x):
        assert x.isfinite().all()
        return torch.where(x > 1, x**3, 0.9 * x)

    orbit = iterate(f, torch.tensor([[3.0], *[[0.5]] * 9]), 40)  # too few to be removed at once
    assert orbit.diverged.tolist() == [True] + [False] * 9
    assert orbit.points[0] == 3.0**27
    assert orbit.steps[0] == 3


def test_a_settled_row_is_not_followed_into_what_comes_after():
    def f(x):
        return torch.where(x < 0, x - 1, torch.where(x == 1, 1.0005, torch.inf))

    x0 = torch.tensor([[1.0], *[[-1.0]] * 9])
    orbit = iterate(f, x0, 5, tol=1e-3)
    assert orbit.converged.tolist() == [True] + [False] * 9
    assert not orbit.diverged.any()
    assert orbit.points[0] == torch.tensor(1.0005)


def test_only_rows_that_move_have_lengths():
    x0 = torch.tensor([[1.0], [3.0], *[[-1.0]] * 8])  # rests, diverges, walks
    orbits = OrbitBatch(lambda x: torch.where(x < 0, x - 1, torch.where(x == 1, x, torch.inf)), x0, tol=0, block=4)
    for _ in range(3):
        assert orbits.step().tolist() == [0, 0] + [1] * 8
    expected = [1, 3] + [-4] * 8
    assert orbits.points[:, 0].tolist() == expected


def test_tol_zero_stops_no_row_whose_step_only_underflows():
    orbit = iterate(lambda x: x / 2, torch.full((1, 2), 1e-24), 20, tol=0)  # squares of the steps are zero in float32
    expected = [1e-24 / 2**20] * 2
    assert orbit.points[0].tolist() == pytest.approx(expected)
    assert not orbit.converged
    x0 = torch.tensor([[3.0]])
    found = iterate(lambda x: x, x0, 20, tol=0).steps.tolist()
    assert found == [1]


def test_a_map_may_return_its_input():
    x0 = torch.randn(4, 2)
    assert torch.equal(iterate(lambda x: x, x0, 5, tol=-1).points, x0)


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"keep holds \[11\], but only t = 0\.\.10"):
        iterate(torch.tanh, torch.zeros(1, 2), 10, keep=(11,))
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 0, got -1"):
        iterate(torch.tanh, torch.zeros(1, 2), -1)
    with pytest.raises(NonFiniteError, match=r"x0 holds NaN or infinity in 1 of 1 rows"):
        iterate(torch.tanh, torch.full((1, 2), torch.nan))
    with pytest.raises(NotASelfMapError, match=r"the output of .* holds .*self_map="):
        iterate(lambda x: (x, x), torch.zeros(1, 2))


@pytest.mark.parametrize("bias", [True, False])
def test_latent_iteration_is_the_same_orbit(bias):
    model = FullyConnected(shape=(1, 6, 6), depth=4, width=9, bias=bias).double()
    x0 = torch.randn(20, 1, 6, 6).double()
    keep = (0, 1, 2, 17)
    plain = iterate(model, x0, 40, keep=keep, latent=False)
    latent = iterate(model, x0, 40, keep=(0, 1, 2, 17), latent=True)
    torch.testing.assert_close(latent.points, plain.points)
    assert latent.points.shape == x0.shape
    for t, points in plain.kept.items():
        torch.testing.assert_close(latent.kept[t], points)
    torch.testing.assert_close(latent.residual, plain.residual, rtol=1e-6, atol=1e-12)
    assert torch.equal(latent.converged, plain.converged)
    assert ((latent.steps - plain.steps).abs() <= 1).all()


def test_latent_iteration_finds_the_orbits_that_leave_the_number_range():
    # on the line (s, 5): s -> 2s for s > 0, else s/2, the rest of the space is projected onto it
    model = nn.Sequential(nn.Linear(4, 2), nn.PReLU(2), nn.Linear(2, 4)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]]))
        model[0].bias.zero_()
        model[1].weight.fill_(0.25)
        model[2].weight.copy_(torch.tensor([[1.0, 0], [0, 0], [0, 0], [0, 0]]))
        model[2].bias.copy_(torch.tensor([0.0, 5, 0, 0]))
    x0 = torch.tensor([[1.0, 1, 1, 1], [-1, 2, 3, 4], [1e308, 0, 0, 0]], dtype=torch.float64)
    plain, latent = (iterate(model, x0, 2000, latent=choice) for choice in (False, True))
    assert latent.diverged.tolist() == plain.diverged.tolist() == [True, False, True]
    torch.testing.assert_close(latent.points, plain.points)
    assert latent.converged.tolist() == plain.converged.tolist()
    expected = [0, 5, 0, 0]
    assert latent.points[1].tolist() == pytest.approx(expected)
    assert latent.points[2].tolist() == [1e308, 0, 0, 0]


def test_rows_settle_by_the_size_of_the_point_and_not_of_its_coordinates():
    # all points lie at 1e6 from the origin: the step is below its resolution long before the coordinates stand still
    model = FullyConnected(shape=(8,), depth=2, width=2, activation="tanh").double()
    with torch.no_grad():
        model.net[-2].bias.fill_(1e6)
        model.net[1].weight.mul_(1e-6)
    x0 = torch.randn(5, 8).double()
    plain, latent = (iterate(model, x0, 500, tol=1e-9, latent=choice) for choice in (False, True))
    assert latent.steps.tolist() == plain.steps.tolist()


def test_latent_rows_settle_by_the_size_of_the_point():
    # f(c + a v) = c + 0.9 a v with |c| = 1e6 and v across c: the step t is 0.1 * 0.9^(t - 1) long, and 1e-9 |c| = 1e-3
    centre = torch.zeros(8, dtype=torch.float64)
    centre[0] = 1e6
    v = torch.zeros(8, dtype=torch.float64)
    v[1:3] = 0.5**0.5
    model = nn.Sequential(nn.Linear(8, 1, bias=False), nn.ReLU(), nn.Linear(1, 8)).double()
    with torch.no_grad():
        model[0].weight.copy_(v[None])
        model[2].weight.copy_(0.9 * v[:, None])
        model[2].bias.copy_(centre)
    expected = 1 + math.ceil(math.log(0.01) / math.log(0.9))
    for latent in (False, True):
        orbit = iterate(model, (centre + v)[None], 500, tol=1e-9, latent=latent)
        assert orbit.steps.tolist() == [expected]
