"""Pushes: what the map itself does around a fixed point."""

import math
from contextlib import nullcontext

import pytest
import torch

from memzoo.dynamics import certify
from memzoo.dynamics.attractors.pushes import push_points


@pytest.mark.parametrize(("radius", "shear"), [(0.9, 5.0), (0.95, 5.0), (0.97, 1.0), (0.99, 0.2), (0.5, 200.0)])
@pytest.mark.parametrize("dim", [2, 3])
def test_an_attractor_that_swings_out_first_is_certified(radius, shear, dim):
    # linear around each centre, as far as 500 away: no orbit that begins within eps leaves that region
    centres = 1000.0 * torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * dim)
    jacobian = radius * torch.eye(dim, dtype=torch.float64)
    jacobian[0, 1] = shear
    powers = [torch.linalg.matrix_norm(torch.linalg.matrix_power(jacobian, t), 2) for t in range(300)]
    assert 0.1 * max(powers) < 500

    def f(x):
        own = centres[torch.cdist(x, centres).argmin(1)]
        return own + (x - own) @ jacobian.T

    assert certify(f, centres, eps=0.1).attractor.all()


def grow_in_a_cone(signs):
    """Halve every direction but those in one orthant, where the diagonal is doubled."""
    return lambda x: 0.5 * x + 1.5 * (x * signs).amin(1, keepdim=True).relu() * signs


@pytest.mark.parametrize("dim", [3, 6, 10])
def test_a_kink_that_grows_in_a_narrow_cone_is_no_attractor(dim):
    f = grow_in_a_cone(torch.ones(dim, dtype=torch.float64))
    diagonal = torch.full((1, dim), 1e-6, dtype=torch.float64)
    torch.testing.assert_close(f(diagonal), 2 * diagonal)
    assert not certify(f, torch.zeros(1, dim, dtype=torch.float64), eps=0.1, steps=100).attractor.any()


def test_a_kink_that_grows_in_any_orthant_of_few_dimensions_is_no_attractor():
    for signs in torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 4):
        assert not certify(grow_in_a_cone(signs), torch.zeros(1, 4).double(), eps=0.1, steps=100).attractor.any()


def test_growth_that_sets_in_late_is_seen():
    # the second coordinate halves to the left of 0 and drives the first only when it is positive; from the left it
    # crosses over after it has shrunk: x -> (3 relu(y) + .5 x, -.5 y) tripled every second step would be no attractor
    def f(x):
        return torch.stack([0.1 * x[:, 0] + 4 * x[:, 1].relu(), 0.1 * x[:, 1] + 4 * x[:, 0].relu()], 1)

    # along (1, 1) the map is x -> 4.1 x; on all sides where a coordinate is negative the first step can shrink
    diagonal = torch.full((1, 2), 1e-6, dtype=torch.float64)
    torch.testing.assert_close(f(diagonal), 4.1 * diagonal)
    assert not certify(f, torch.zeros(1, 2, dtype=torch.float64), eps=0.1).attractor.any()


@pytest.mark.parametrize(
    ("dim", "growth", "others"), [(784, 1.05, 0.9), (20, 1.001, 0.95), (2, 1.0001, 0.95), (2, 1.0, 0.95)]
)
def test_slow_growth_on_one_side_of_a_kink_is_seen(dim, growth, others):
    # what grows is a small part of a random push, which shrinks as a whole for many steps
    def f(x):
        first = torch.where(x[:, :1] > 0, growth * x[:, :1], 0.5 * x[:, :1])
        return torch.cat([first, others * x[:, 1:]], 1)

    assert not certify(f, torch.zeros(1, dim, dtype=torch.float64), eps=0.1).attractor.any()


def test_slow_contraction_on_both_sides_of_a_kink_is_an_attractor():
    def f(x):
        return torch.cat([torch.where(x[:, :1] > 0, 0.995 * x[:, :1], 0.5 * x[:, :1]), 0.9 * x[:, 1:]], 1)

    assert certify(f, torch.zeros(1, 20, dtype=torch.float64), eps=0.1).attractor.all()


def test_a_kink_between_two_contractions_is_an_attractor():
    found = certify(lambda x: torch.where(x > 0, 0.9 * x, 0.2 * x), torch.zeros(1, 5), eps=0.1)
    assert found.attractor.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_type_of_the_examples_does_not_hide_a_kink_or_a_jump(dtype):
    def jump(x):
        return 5 + (x - 5).sign()

    def kink(x):
        return 5 + torch.where(x > 5, 2 * (x - 5), 0.5 * (x - 5)).clamp(-1, 1)

    points = torch.tensor([[6.0], [4.0], [5.0]], dtype=dtype)
    half = pytest.warns(UserWarning, match=r"examples are torch\.b?float16.* measured as it computes in float32")
    with nullcontext() if dtype == torch.float32 else half:
        assert certify(jump, points, eps=0.1).attractor.tolist() == [True, True, False]
        assert certify(kink, points[[2, 0]], eps=0.1).attractor.tolist() == [False, True]


@pytest.mark.parametrize("step", [0.08, 0.2, 0.4])
@pytest.mark.parametrize("dim", [1, 2, 50])
def test_the_identity_in_small_steps_has_no_attractors(step, dim):
    # pushes have length 1, those of a coordinate 1 / sqrt(dim); they rest where they lead, to within half a step
    step = step / dim**0.5

    def f(x):
        return (x / step).round() * step

    generator = torch.Generator().manual_seed(0)
    examples = 100 + 20 * torch.randn(6, dim, generator=generator, dtype=torch.float64)
    assert not certify(f, f(examples), eps=2.0).attractor.any()


def test_a_push_that_repeats_elsewhere_is_followed_no_further():
    evaluations = 0

    def climb(x):
        """Spread points in steps of 1/64 as far as 2, where they stay."""
        nonlocal evaluations
        evaluations += 1
        return ((1.6 * x * 64).round() / 64).clamp(-2, 2)

    found = certify(climb, torch.zeros(1, 4, dtype=torch.float64), eps=0.5)
    assert found.derivative == ["resting"]
    assert not found.returns.any()
    assert evaluations < 300  # an orbit without an end is followed for 20 000 steps


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_all_directions_count_where_the_outputs_rest(share):
    # A map of codes: points within the sector are sent back to 0, the others to a code far away.
    limit = math.pi * share

    def look_up(x):
        inside = torch.atan2(x[:, 1], x[:, 0]).abs() <= limit
        back = (inside & (x[:, 0] > -3)) | (x == 0).all(1)
        return torch.where(back[:, None], torch.zeros_like(x), torch.full_like(x, -5.0))

    origin = torch.zeros(1, 2, dtype=torch.float64)
    one, mark = torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.bool)
    assert not push_points(look_up, origin, origin, one, 100, mark, ~mark).return_home.any()
