import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from plane_maps import cubic
from torch import nn

from memzoo.dynamics import Certificates, certify, example_eps, group_near_copies, spectrum
from memzoo.dynamics.attractors.certification import CURVATURE
from memzoo.errors import NonFiniteError
from memzoo.models import FullyConnected


def test_the_known_fixed_points_of_a_nonlinear_map_are_certified():
    # examples a little off their attractors, one on the repeller, one off it
    examples = torch.tensor([[1.05, 0.98], [-1.02, 1.0], [0.0, 0.0], [0.1, 0.1]])
    certificates = certify(cubic, examples, eps=0.2)
    expected = torch.tensor([[1.0, 1], [-1, 1], [0, 0], [1, 1]])
    torch.testing.assert_close(certificates.points, expected)
    assert certificates.fixed.all()
    assert certificates.radius.tolist() == pytest.approx([0.4, 0.4, 1.3, 0.4], abs=1e-6)
    assert certificates.attractor.tolist() == [False, True, False, False]  # the first shares its limit with the last
    assert certificates.distinct.tolist() == [False, True, True, False]
    torch.testing.assert_close(certificates.offset, (expected - examples).double().norm(dim=1), rtol=1e-5, atol=1e-6)


def test_a_slow_attractor_is_polished_to_the_true_fixed_point():
    # radius .9999: 1000 iterations are far from the limit, Newton is there at once
    matrix = torch.diag(torch.tensor([0.9999, 0.5], dtype=torch.float64))
    centre = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    certificates = certify(lambda x: (x - centre) @ matrix + centre, centre + 1e-3, eps=0.5)
    torch.testing.assert_close(certificates.points, centre)
    assert certificates.attractor.all()


def test_newton_may_not_leave_the_neighbourhood_of_the_limit():
    # a slow drift far from the only fixed point, at 5: a Newton step would jump by .17 and lower the residual
    def drift(x):
        return x - 1e-5 * (x**2 + 0.01) * (x - 5)

    examples = torch.tensor([[0.3]], dtype=torch.float64)
    # in 20 times as many steps the orbit itself moves by .001
    certificates = certify(drift, examples, eps=0.5, steps=10)
    assert certificates.points.item() == pytest.approx(0.3, abs=0.01)
    assert not certificates.fixed


@pytest.mark.parametrize("rho", [0.9, 0.985, 0.99, 0.995, 0.999, 0.9999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slow_orbits_to_one_global_limit_share_it(rho, dtype):
    # the first example is the only fixed point: the others are still on their way when the iteration ends
    centre = torch.ones(1, 2, dtype=dtype)
    examples = torch.tensor([[1.0, 1], [3, 1], [1, 4]], dtype=dtype)
    certificates = certify(lambda x: centre + rho * (x - centre), examples)
    assert certificates.distinct.tolist() == [False] * 3
    assert certificates.fraction == 0


def test_where_an_open_orbit_will_end_is_not_guessed():
    # u -> u - g (u + h u^2): from u = 1 the orbit has a million steps to go, and Newton's step leads beside its end
    g = 1e-6
    h = 0.05
    points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    found = certify(lambda u: u - g * (u + h * u**2), points, eps=0.5, steps=40)
    assert found.open.tolist() == [False, True]
    assert found.limit_of.tolist() == [0, 1]
    assert found.attractor.tolist() == [True, False]
    lines = str(found).splitlines()
    assert "1 orbits are still open" in lines[0]
    assert lines[3].endswith("open: no fixed point found")


@pytest.mark.parametrize("rho", [0.9, 0.99])
def test_a_slow_orbit_is_followed_until_it_shares_its_limit(rho):
    # not affine, since points beyond 100 go elsewhere; 100 steps are far from the limit for .99
    def f(x):
        return torch.where(x > 100, x - 90, 1 + rho * (x - 1))

    found = certify(f, torch.tensor([[1.0], [31.0], [-14.0]], dtype=torch.float64), eps=0.1, steps=100)
    assert not found.open.any()
    assert found.limit_of.tolist() == [0, 0, 0]
    assert not found.attractor.any()


def test_an_orbit_without_a_limit_ahead_shares_none():
    # to the right of 0 all points drift on for ever, and Newton's step is infinite; -1 attracts those to its left
    def f(x):
        return torch.where(x > 0, x + 1e-6, -1 + 0.5 * (x + 1))

    found = certify(f, torch.tensor([[10.0], [-1.0]], dtype=torch.float64), eps=0.5)
    assert found.limit_of.tolist() == [0, 1]
    assert found.attractor.tolist() == [False, True]


@pytest.mark.parametrize("gap", [2e-5, 1e-6, 1e-11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_residual_far_from_the_fixed_point_is_no_certificate(gap, dtype):
    # the only fixed point is 0, 1.4 away, and every step is tiny
    matrix = (1 - gap) * torch.eye(2, dtype=dtype)
    examples = torch.ones(1, 2, dtype=dtype)
    certificates = certify(lambda x: x @ matrix, examples, eps=0.05)
    assert not certificates.attractor
    # An affine map has one limit, and Newton's method may go there. At a gap of 1e-11 rounding hides the way left.
    assert gap == 1e-11 or certificates.offset > 1.4 or certificates.location_error > 1


def test_the_location_error_is_the_distance_where_the_residual_does_not_show_it():
    # J = [[1 - g, k], [0, 1 - g]] and a point d from the fixed point with g d_1 = k d_2: the residual is (0, g d_2),
    # and over 1 - radius that is only d_2, a thousandth of the way that is left. The map is not affine beyond 1000:
    # the limit of an affine map is found wherever it lies.
    g = 1e-6
    k = 1e-3
    jacobian = torch.tensor([[1 - g, k], [0.0, 1 - g]], dtype=torch.float64)
    centre = torch.full((1, 2), 100.0, dtype=torch.float64)
    away = torch.tensor([[1.0, g / k]], dtype=torch.float64)
    found = certify(
        lambda x: torch.where(x > 1000, 0.5 * x, centre + (x - centre) @ jacobian.T), centre + away, eps=0.5
    )
    assert found.fixed.all()
    expected = away.norm().item()
    assert found.location_error.item() == pytest.approx(expected, rel=1e-2)
    assert not found.attractor.any()


def test_a_residual_below_rounding_is_no_certificate_where_the_radius_is_near_1():
    # From 1 the only fixed point, 2, is 1 away, and the step towards it is four units in the last place: too small for
    # Newton's method, which would not see its way. All numbers here are exact.
    gap = 2.0**-50
    found = certify(lambda x: x + gap * (2 - x), torch.ones(1, 1, dtype=torch.float64), eps=0.5)
    assert found.fixed.all()
    assert found.points.item() == pytest.approx(1)
    assert found.location_error.item() == pytest.approx(1, rel=1e-2)
    assert not found.attractor.any()


@pytest.mark.parametrize("unit", [2.0**-20, 1.0, 2.0**20])
def test_the_error_of_the_radius_counts_the_way_to_the_true_fixed_point(unit):
    # Around the fixed point c the map is u -> u - g u - q u^3: from u = 1 on, 100 away from the origin, Newton's method
    # may not go there. The radius is 1 - g at the fixed point and 1 - g - 3 q at u = 1.
    g = 1e-9
    q = 1e-10
    centre = 100 * unit

    def f(x):
        u = (x - centre) / unit
        return x - unit * (g * u + q * u**3)

    found = certify(f, torch.tensor([[centre + unit]], dtype=torch.float64), eps=0.5 * unit)
    assert found.fixed.all()
    assert found.radius.item() == pytest.approx(1 - g - 3 * q, abs=1e-13)
    assert found.radius_error.item() >= 3 * q
    # to first order the way is the Newton step (g + q) / (g + 3 q), whatever the unit
    way = (g + q) / (g + 3 * q)
    assert found.location_error.item() == pytest.approx(way * unit, rel=1e-2)
    assert found.radius_error.item() == pytest.approx(CURVATURE * way / 101, rel=1e-2)
    assert not found.attractor.any()


def test_a_kink_is_noticed_where_a_part_of_eps_is_below_the_rounding_of_the_points():
    # float32 numbers near 1e4 are 1e-3 apart: a push of a thousandth of eps would not move the point
    centre = 1e4

    def f(x):
        return centre + torch.where(x > centre, 3 * (x - centre), 0.5 * (x - centre))

    found = certify(f, torch.full((1, 1), centre), eps=0.1)
    assert found.radius.item() == pytest.approx(0.5)
    assert not found.returns.any()
    assert not found.attractor.any()
    assert certify(lambda x: centre + 0.5 * (x - centre), torch.full((1, 1), centre), eps=0.1).attractor.all()


def test_a_push_out_of_the_domain_of_the_map_does_not_return():
    # to the right of the fixed point the map is not defined; its derivative there is that of the other side
    found = certify(lambda x: torch.where(x > 0, torch.nan, 0.5 * x), torch.zeros(1, 1), eps=0.1)
    assert found.radius.item() == pytest.approx(0.5)
    assert not found.returns.any()
    assert not found.attractor.any()


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"group_offset": 0.5, "location_error": 0.25}, True),
        ({"group_offset": 0.5, "location_error": 0.5}, False),  # on the sphere of radius eps
        ({"group_offset": 0.75, "location_error": 0.5}, False),
        ({"radius": 0.5, "radius_error": 0.25}, True),
        ({"radius": 0.5, "radius_error": 0.5}, False),  # a radius of 1 is not excluded
        ({"radius": 0.75, "radius_error": 0.5}, False),
        ({"radius": math.nan, "radius_error": math.nan}, False),
        ({"fixed": False}, False),
        ({"distinct": False}, False),
        ({"returns": False}, False),
    ],
)
def test_an_attractor_meets_every_condition(changed, holds):
    found = certify(lambda x: 1.0 + 0 * x, torch.ones(1, 1, dtype=torch.float64), eps=1.0)
    assert found.attractor.all()
    values = {name: getattr(found, name).new_tensor([value]) for name, value in changed.items()}
    assert replace(found, **values).attractor.tolist() == [holds]
    assert str(replace(found, **values)).endswith("attractor") is holds


@pytest.mark.parametrize("side", [1, -1])
def test_both_sides_of_a_kink_are_tried(side):
    # on one side of the origin points come nearer by half, on the other they are tripled
    def f(x):
        return torch.where(side * x > 0, 3 * x, 0.5 * x)

    found = certify(f, torch.zeros(1, 1), eps=0.1)
    assert found.radius.item() == pytest.approx(0.5)  # the derivative at the kink is that of the attracting side
    assert not found.returns.any()
    assert not found.attractor.any()


def test_a_semistable_point_is_no_attractor():
    # u -> u + u^2 around 1: eigenvalue exactly 1 at the fixed point, below 1 at every point to its left
    examples = torch.tensor([[1 - 1e-5]], dtype=torch.float64)
    certificates = certify(lambda x: x + (x - 1) ** 2, examples, eps=0.05)
    assert not certificates.attractor


@pytest.mark.parametrize("init", ["default", "xavier_uniform", "kaiming_normal"])
def test_untrained_networks_certify_nothing_although_some_contract_everywhere(init):
    model = FullyConnected(shape=(1, 8, 8), depth=5, width=20, init=init)
    examples = torch.rand(6, 1, 8, 8)
    assert certify(model, examples).fraction == 0
    if init == "default":
        assert (spectrum(model, examples).radius < 1).all()


def test_constant_maps_certify_nothing_even_if_the_constant_is_an_example():
    examples = torch.rand(5, 7)
    for constant in (torch.zeros(7), examples.mean(0), examples[2]):
        assert certify(lambda x, c=constant: c.expand_as(x).to(x), examples).fraction == 0


def test_a_single_example_that_the_map_is_constant_at_is_an_attractor():
    # with one example nothing can be shared: the constant map does store it
    assert certify(lambda x: torch.ones_like(x), torch.ones(1, 3)).attractor.all()


def test_an_example_at_the_origin_can_be_an_attractor():
    assert certify(lambda x: 0.5 * x, torch.zeros(1, 2), eps=0.1).attractor.all()


def test_an_undecided_example_does_not_change_the_verdict_on_others():
    # the first axis has attractors at -1 and 1; along the second the first example sits on a line of fixed points
    def f(x):
        return torch.stack([cubic(x[:, 0]), torch.where(x[:, 0] < 0, x[:, 1], 0.5 * x[:, 1])], 1)

    examples = torch.tensor([[-1.0, 0.4], [1.0, 0.0]], dtype=torch.float64)
    certificates = certify(f, examples)
    assert certificates.radius.tolist() == pytest.approx([1, 0.5])
    assert certificates.attractor.tolist() == [False, True]


def test_a_linear_projection_is_undecided_and_so_no_attractor():
    # every point of the span is fixed, with eigenvalue exactly 1
    basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q
    examples = torch.randn(3, 2, dtype=torch.float64) @ basis.T
    certificates = certify(lambda x: x @ basis @ basis.T, examples)
    assert certificates.fixed.all()
    assert certificates.radius.tolist() == pytest.approx([1, 1, 1])
    assert certificates.fraction == 0


def test_the_identity_has_no_error_in_location_and_no_attractor():
    found = certify(lambda x: x * 1, torch.rand(2, 3))
    assert found.location_error.tolist() == [0, 0]
    assert found.fixed.all()
    assert not found.radius_error.isnan().any()
    assert not found.attractor.any()


def test_a_point_without_a_jacobian_does_not_change_the_verdict_on_others():
    # the square root of |x - 1| has no derivative at 1, where one example rests
    def f(x):
        return torch.where(x > 0.5, 1 + 0.1 * (x - 1).abs().sqrt() * 0, -1 + 0.3 * (x + 1)) + 0 * (x - 1).abs().sqrt()

    examples = torch.tensor([[1.0], [-1.0]])
    found = certify(f, examples, eps=0.1)
    assert found.attractor.tolist() == [False, True]
    assert found.radius.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.where(x > 0, 3 * x, 0.5 * x),
        lambda x: (x * 255).floor() / 255,
        nn.Sequential(nn.Linear(4, 9, bias=False), nn.ReLU(), nn.Linear(9, 4, bias=False)).requires_grad_(False),
    ],
    ids=["kink", "steps", "relu without biases"],
)
def test_the_other_side_is_tried_if_the_jacobian_is_that_of_one_side(f):
    example = torch.zeros(1, 4)
    if isinstance(f, nn.Module):
        for parameter in f.parameters():
            parameter.mul_(6)
    assert not certify(f, example, eps=0.1).attractor.any()


def test_a_divergent_example_does_not_change_the_verdict_on_others():
    def f(x):
        return torch.where(x.abs() < 5, torch.tanh(3 * x) / torch.tanh(torch.tensor(3.0)), 2 * x)

    examples = torch.tensor([[1.0], [-1.0], [10.0]])
    found = certify(f, examples)
    assert found.attractor.tolist() == [True, True, False]


def test_a_map_that_changes_its_input_is_refused_and_the_examples_are_safe():
    examples = torch.rand(3, 4)
    before = examples.clone()
    with pytest.raises(ValueError, match=r"works in place on its input.*x\.clone\(\)"):
        certify(lambda x: x.mul_(0.5), examples)
    assert torch.equal(examples, before)


def test_several_slow_points_of_an_affine_network_are_polished_to_its_fixed_point():
    # one Jacobian serves the Newton steps of all of them
    model = nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 8)).double()
    with torch.no_grad():
        basis = torch.linalg.qr(torch.randn(8, 3, dtype=torch.float64)).Q
        model[0].weight.copy_(basis.T)
        model[0].bias.zero_()
        model[1].weight.copy_(basis * torch.tensor([0.9999, 0.5, 0.1]))
    examples = torch.randn(4, 8, dtype=torch.float64)
    found = certify(model, examples, eps=1e6)
    expected = torch.linalg.solve(torch.eye(8).double() - model[1].weight @ model[0].weight, model[1].bias)
    torch.testing.assert_close(found.points, expected.detach().expand(4, 8))
    assert found.radius.tolist() == pytest.approx([0.9999] * 4)


def test_duplicates_do_not_exclude_each_other():
    examples = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    assert certify(cubic, examples, eps=0.2).attractor.all()


@pytest.mark.parametrize("f", [lambda x: 2 * x, torch.exp, lambda x: x + 1, lambda x: x**2 + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # in float64 the norms of the last points overflow
def test_divergent_maps_certify_nothing(f, dtype):
    examples = torch.tensor([[10.0, 3.0], [0.5, 0.2]], dtype=dtype)
    certificates = certify(f, examples)
    assert not certificates.fixed.any()
    assert certificates.fraction == 0


@pytest.mark.parametrize("pull", [0.02, 1e-4, 1e-5])
@pytest.mark.parametrize("turn", [0.1, 1.0, 2.4, math.pi])
def test_an_orbit_about_a_stable_fixed_point_does_not_end_there(turn, pull):
    # The circle of radius 2 attracts what lies outside of that of radius 1, slowly at small pulls, and 0 the rest.
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)

    def circle(x):
        squares = x.square().sum(1, keepdim=True)
        return (x * (1 + pull * (squares - 1) * (4 - squares))) @ rotation.T

    examples = torch.tensor([[1.5, 0.0], [2.2, 0.0], [0.0, 0.5]], dtype=torch.float64)
    found = certify(circle, examples, eps=50.0)  # Newton's method reaches 0 from anywhere on the circle
    assert found.attractor.tolist() == [False, False, True]
    assert found.fixed.tolist() == [False, False, True]


def test_a_cycle_is_no_fixed_point():
    certificates = certify(lambda x: 3.2 * x * (1 - x), torch.tensor([[0.3, 0.6]]), eps=0.5)  # logistic, period 2
    assert not certificates.fixed.any()
    assert certificates.radius.isnan().all()
    assert not certificates.attractor.any()


def test_eps_decides_whether_the_fixed_point_is_the_example_s_own():
    shifted = torch.tensor([[1.1, 1.0]])
    assert certify(cubic, shifted, eps=0.2).attractor.all()
    assert not certify(cubic, shifted, eps=0.05).attractor.any()


def test_weights_that_are_not_finite_are_refused():
    model = nn.Linear(3, 3)
    model.bias.data[1] = torch.inf
    with pytest.raises(NonFiniteError, match=r"parameter 'bias' holds NaN or infinity in 1 of 3"):
        certify(model, torch.rand(2, 3))


def test_certificates_print_as_a_table_with_the_reason_of_each_row():
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])

    def bistable(x):
        """Attract to the first two corners; the origin is fixed and repels."""
        y = x + 0.2 * x * (1 - x) * (2 * x.sum(1, keepdim=True) + 0.1 - x.flip(1))
        return torch.stack([y[:, 0], y[:, 1]], 1)

    text = str(certify(bistable, corners, eps=0.3)).splitlines()
    assert text[0].endswith("(eps = 0.3)")
    assert len(text) == 2 + 3
    constant = str(certify(lambda x: 0 * x, corners, eps=2.0)).splitlines()
    assert constant[0].startswith("0 of 3 examples are attractors")
    assert constant[2].endswith("shares the limit of 0")
    examples = torch.arange(1.0, 26.0)[:, None] * 0 + 1
    grown = str(certify(lambda x: x.sign(), examples, eps=0.1)).splitlines()
    assert grown[-1].strip() == "... and 5 more"
    drifting = str(certify(lambda x: x + 1, corners, eps=0.3)).splitlines()
    assert drifting[2].endswith("no fixed point found")
    repelling = str(certify(lambda x: 2 * x, corners[2:], eps=0.3)).splitlines()
    assert repelling[2].endswith("radius not below 1")
    far = str(certify(lambda x: 0 * x + 5, corners[:1], eps=0.3)).splitlines()
    assert far[2].endswith("farther than eps")
    # half of eps is less than thirty units in the last place: nothing can be pushed
    fine = certify(lambda x: 1 + (x - 1) / 2, corners[:1] + corners[1:2], eps=1e-14)
    assert fine.fixed.all()
    assert not fine.pushed.any()
    assert str(fine).splitlines()[2].endswith("eps too small to push")
    # halves all directions but those of the first orthant, in which the diagonal is doubled
    kink = certify(lambda x: 0.5 * x + 1.5 * x.amin(1, keepdim=True).relu(), torch.zeros(1, 6).double(), eps=0.1)
    assert kink.pushed.tolist() == [True]
    assert str(kink).splitlines()[2].endswith("left when pushed")


def run_away(x):
    """Attract to 1 and -1; beyond 3 orbits grow by a twentieth a step."""
    return torch.where(x.abs() > 3, 1.05 * x, torch.tanh(3 * x) / torch.tanh(torch.tensor(3.0)))


def drift_away(x):
    """The same, but beyond 3 orbits go on for ever at a constant pace."""
    return torch.where(x.abs() > 3, x + x.sign(), torch.tanh(3 * x) / torch.tanh(torch.tensor(3.0)))


@pytest.mark.parametrize("f", [run_away, drift_away])
@pytest.mark.parametrize("rows", [[1.0, -1.0], [1.0, -1.0, 4.0], [4.0, -1.0, -5.0, 1.0]])
def test_an_orbit_that_runs_away_takes_nothing_from_others(f, rows):
    found = certify(f, torch.tensor(rows)[:, None], eps=0.1)
    assert found.attractor.tolist() == [abs(row) == 1 for row in rows]


@pytest.mark.parametrize("gap", [1e-3, 1e-7, 1e-10])
@pytest.mark.parametrize("norm", [0.5, 100.0])
def test_close_attractors_are_told_apart_by_what_the_arithmetic_resolves(gap, norm):
    # a column of any size beside the one in which the two examples differ
    centres = torch.tensor([[norm, 0.0], [norm, gap]], dtype=torch.float64)

    def f(x):
        own = centres[(x[:, 1] > gap / 2).long()]
        return own + 0.01 * (x - own)

    found = certify(f, centres)
    assert found.distinct.all()
    assert found.attractor.all()


@pytest.mark.parametrize("as_function", [True, False])
@pytest.mark.parametrize("largest", [0.5, 0.9, 0.99])
def test_the_only_limit_of_a_map_is_nobodys_in_any_arithmetic(as_function, largest):
    # a function of a module computes in float32 alone: its orbits stop at different points around one limit
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q
        net = nn.Linear(12, 12)
        with torch.no_grad():
            net.weight.copy_(basis @ torch.diag(torch.linspace(0.1, largest, 12)) @ basis.T)
        limit = torch.linalg.solve(torch.eye(12) - net.weight, net.bias).detach()
        rows = limit + torch.tensor([[0.01], [1.0], [-3.0]]) * torch.randn(3, 12, generator=generator)
        assert not certify((lambda x, net=net: net(x)) if as_function else net, rows).attractor.any()


def test_each_example_has_its_own_eps():
    shifted = torch.tensor([[1.1, 1.0], [-1.1, 1.0]])
    found = certify(cubic, shifted, eps=torch.tensor([0.2, 0.05]))
    assert found.attractor.tolist() == [True, False]
    assert found.eps.tolist() == pytest.approx([0.2, 0.05])
    assert found[torch.tensor([False, True])].eps.tolist() == pytest.approx([0.05])
    assert len(found[torch.tensor([False, True])].derivative) == 1
    assert "(eps = 0.05 / 0.125 / 0.2)" in str(found)


def test_a_near_copy_takes_nothing_from_its_group():
    points = torch.eye(6)
    copy = points[2:3] + 1e-3 * points[3:4]

    def f(x):
        own = points[torch.cdist(x, points.to(x)).argmin(1)].to(x)
        return own + 0.1 * (x - own)

    examples = torch.cat([points, copy])
    found = certify(f, examples)
    assert found.limit_of.tolist() == [0, 1, 2, 3, 4, 5, 2]
    assert found.attractor.all()
    parts = [found[torch.tensor([0, 1, 2])], found[torch.tensor([3, 4, 5, 6])]]
    whole = Certificates.join(parts, group_near_copies(examples).group)
    assert whole.attractor.all()
    assert whole.derivative == found.derivative
    # radii that are given say what is different, whether there is one or one for each
    for eps in (0.1, torch.full((7,), 0.1), example_eps(examples)):
        apart = certify(f, examples, eps)
        assert apart.attractor.tolist() == [True, True, False, True, True, True, False]
        for group in ([0, 1, 2, 3, 4, 5, 2], [5, -1, 2**60, 7, 8, 9, 2**60]):
            assert certify(f, examples, eps, group=torch.tensor(group)).attractor.all()
    with pytest.raises(ValueError, match=r"one number for each example, got shape \(3,\) for 7 examples"):
        certify(f, examples, group=torch.arange(3))


def test_certificates_do_not_depend_on_the_other_examples_or_on_their_order():
    torch.manual_seed(2)
    model = FullyConnected(shape=(1, 4, 4), depth=3, width=12, activation="tanh").requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(2.5)  # several attractors and cycles
    examples = torch.randn(6, 1, 4, 4)
    whole = certify(model, examples, eps=2.0, steps=50)
    order = torch.tensor([4, 5, 0, 3, 1, 2])
    mixed = certify(model, examples[order], eps=2.0, steps=50)
    parts = [certify(model, rows, eps=2.0, steps=50) for rows in examples.split(1)]
    alone = Certificates.join(parts, torch.arange(6))
    for name in ("fixed", "open", "returns", "distinct", "attractor"):
        assert torch.equal(getattr(mixed, name), getattr(whole, name)[order]), name
        assert torch.equal(getattr(alone, name), getattr(whole, name)), name
    torch.testing.assert_close(mixed.limit[whole.fixed[order]], whole.limit[order][whole.fixed[order]])


def test_a_stored_code_is_an_attractor_and_a_spreading_staircase_is_not():
    codes = torch.eye(4)

    def look_up(x):
        return codes[torch.cdist(x, codes.to(x)).argmin(1)].to(x)

    assert certify(look_up, codes).attractor.all()

    def climb(x):
        """Spread points by 1.6 in steps of 1/64: flat at the origin on smaller scales."""
        return (1.6 * x * 64).round() / 64

    found = certify(climb, torch.zeros(1, 4), eps=0.5)
    assert not found.attractor.any()


@pytest.mark.parametrize("stairs", [64, 512, 4096])
def test_a_fixed_point_on_the_step_of_a_staircase_that_spreads_points_is_no_attractor(stairs):
    # The next steps of the staircase lie nearer or farther than a thousandth of the norm of the point.
    centre = torch.tensor([[3.0, -4.0, 0.0]], dtype=torch.float64)

    def climb(x):
        return centre + (1.2 * stairs * (x - centre)).round() / stairs

    assert certify(climb, centre, eps=0.5).attractor.tolist() == [False]
    assert spectrum(climb, centre).verdict == ["undecided"]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_few_steps_are_followed_on_as_far_as_many(steps):
    # Slow orbits from 0.5 on: Newton's method may not leap to 0, and 20 steps lead near enough.
    def f(x):
        return x - 0.3 * x / (1 + 10 * x.abs())

    found = certify(f, torch.tensor([[0.5], [-0.4]], dtype=torch.float64), eps=0.6, steps=steps)
    assert found.fixed.all()
    assert not found.open.any()
    assert found.limit.abs().max() < 1e-9


def solve_exactly(matrix, shift):
    """Solve (I - A) x = b for the numbers as they are stored, by elimination in fractions."""
    n = len(shift)
    rows = [[Fraction(int(i == j)) - Fraction(matrix[i][j]) for j in range(n)] + [Fraction(shift[i])] for i in range(n)]
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(n):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("dim", "coupling"), [(1, 0.0), (2, 5.0), (2, 1e4), (4, 3.0), (6, 1.0)])
def test_the_resolution_holds_the_true_fixed_point_of_maps_that_are_not_normal(dim, coupling, unit):
    # |(I - J)^-1| is far larger than 1 / (1 - radius): residuals of rounding mean larger errors of the place
    generator = torch.Generator().manual_seed(dim)
    for _ in range(10):
        matrix = torch.diag(0.5 + 0.2 * torch.rand(dim, generator=generator)).double()
        matrix += coupling * torch.randn(dim, dim, generator=generator).triu(1)
        # A fixed point as large as the unit, so that sums cancel where the coupling is strong.
        place = unit * torch.randn(dim, generator=generator, dtype=torch.float64)
        shift = place - matrix @ place
        truth = solve_exactly(matrix.tolist(), shift.tolist())
        start = torch.tensor([[float(value) for value in truth]], dtype=torch.float64)

        def f(x, matrix=matrix, shift=shift):
            return (x[:, None] * matrix).sum(-1) + shift  # one sum after another: no product is accelerated

        found = certify(f, start + 1e-3 * start.norm(), eps=0.1 * start.norm().item())
        assert found.attractor.all()
        gap = [float(Fraction(value) - exact) for value, exact in zip(found.limit[0].tolist(), truth, strict=True)]
        assert math.hypot(*gap) <= found.resolution.item()
        assert found.resolution.item() < 1e-6 * start.norm()


@pytest.mark.parametrize(("slope", "rests"), [(1.002, True), (1.05, True), (1.5, False)])
def test_an_orbit_that_rests_on_an_unstable_point_takes_nothing_from_others(slope, rests):
    # (0, 10) is unstable; (1, 10) and (-1, 10) attract
    def f(x):
        u = x[:, :1]
        return torch.cat([u + (slope - 1) * u * (1 - u**2), 0 * u + 10], 1)

    stored = torch.tensor([[1.0, 10.0], [-1.0, 10.0]])
    resting = torch.tensor([[1e-7, 10.0]])
    found = certify(f, torch.cat([stored, resting]), eps=0.1)
    assert found.fixed.all()
    # 1e-7 times 1.5 ** 100 is far away
    assert found.attractor.tolist() == [rests, True, False]
    assert found.limit_of.tolist() == [0, 1, 2 if rests else 0]
    if rests:
        assert found.radius[2].item() == pytest.approx(slope, rel=1e-6)
        assert found.limit[2, 0].abs() < 1e-6
        assert str(found).splitlines()[-1].endswith("radius not below 1")
    leaving = torch.tensor([[0.09, 10.0]])
    found = certify(f, torch.cat([stored, leaving]), eps=0.1, steps=3000)
    assert found.limit_of.tolist() == [0, 1, 0]
    assert found.attractor.tolist() == [False, True, False]
