import math

import pytest
import torch
from plane_maps import cubic, halves, rotation
from torch import nn

import memzoo
from memzoo.dynamics import census, certify, iterate
from memzoo.dynamics.attractors.clusters import find_clusters
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import FullyConnected

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def column(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)[:, None]


def logistic(r):
    return lambda x: r * x * (1 - x)


def rotate(degrees, scale=1.0):
    return lambda x: x @ rotation(degrees, scale).T


@DTYPES
def test_two_basins_that_halve_the_square(dtype):
    starts = torch.rand(500, 2, dtype=dtype) * 2 - 1
    examples = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=dtype)
    found = census(halves, starts, examples)
    expected = (starts[:, 0] > 0).long()
    assert torch.equal(found.label, expected)
    expected = {label: int((found.label == label).sum()) for label in (0, 1)}
    assert found.counts == expected
    for label in (0, 1):
        share = found.share(label)
        assert share.estimate == found.counts[label] / 500
        assert share.low < 0.5 < share.high
        # the width of a 95 % interval at p = 1/2 is 2 z sqrt(p (1 - p) / n)
        expected = 2 * 1.96 * 0.5 / 500**0.5
        assert share.high - share.low == pytest.approx(expected, rel=0.01)
    assert [limit.radius for limit in found.limits] == pytest.approx([0.7, 0.7])
    assert found.points.dtype == dtype
    torch.testing.assert_close(found.points, examples[found.label], rtol=1e-6, atol=1e-6)


@DTYPES
def test_three_of_four_attractors_are_spurious(dtype):
    starts = torch.rand(400, 2, dtype=dtype) * 2 - 1
    example = torch.tensor([[1.05, 0.98]], dtype=dtype)
    found = census(cubic, starts, example, eps=0.2)
    corners = starts.sign()
    expected = torch.where((corners == 1).all(1), 0, -1)
    assert torch.equal(found.label, expected)
    torch.testing.assert_close(found.points, corners)
    expected = ["spurious"] * 3 + ["training"]
    assert sorted(limit.kind for limit in found.limits) == expected
    counts = [limit.count for limit in found.limits]
    assert counts == sorted(counts, reverse=True)
    for index, limit in enumerate(found.limits):
        rows = found.limit == index
        assert limit.count == rows.sum()
        torch.testing.assert_close(limit.points.expand(limit.count, 2), corners[rows])
        assert limit.radius == pytest.approx(0.4, abs=1e-6)
        expected = (1, True, False, False)
        assert (limit.period, limit.attracting, limit.unstable, limit.continuum) == expected
        assert limit.example == (0 if limit.kind == "training" else -1)
        expected = (limit.points - example).double().norm().item()
        assert limit.offset == pytest.approx(expected, abs=1e-6)
    assert not found.continuum


def test_eps_decides_whether_an_attractor_is_the_example_s_own():
    starts = column(0.5)
    shifted = column(1.1)
    assert census(cubic, starts, shifted, eps=0.2).label.tolist() == [0]
    assert census(cubic, starts, shifted, eps=0.05).label.tolist() == [-1]


def test_distance_and_margin_refer_to_the_end_point():
    found = census(cubic, column(0.5, 3.0), column(1.1, -1.0, 5.0), eps=0.2)
    assert found.label.tolist() == [0, -3]
    assert found.distance.tolist() == pytest.approx([0.1, math.inf])
    assert found.margin.tolist() == pytest.approx([1.9, math.nan], nan_ok=True)


def test_an_example_that_is_no_attractor_is_not_an_end_of_its_own():
    # a start that rests on the repeller, which is an example
    found = census(cubic, column(0.0, 0.5), column(0.0, 1.0), eps=0.1)
    assert found.label.tolist() == [-1, 1]
    limit = found.limits[found.limit[0]]
    assert (limit.kind, limit.unstable, limit.offset) == ("spurious", True, 0)
    assert limit.radius == pytest.approx(1.3)


def test_an_orbit_on_the_move_does_not_end_in_a_repeller_that_it_passes():
    # chaotic; 1000 steps may carry it right past the repeller at 0.75, but it never rests there
    f = logistic(4.0)
    repeller = 0.75
    starts = column(*torch.linspace(0.01, 0.99, 200).tolist())
    passing = repeller + 1e-6 * (starts - 0.5)
    found = census(f, passing, column(repeller), steps=0, eps=0.1, max_period=1)
    assert set(found.label.tolist()) <= {-4}


@DTYPES
def test_a_linear_projection_is_a_continuum(dtype):
    basis = torch.linalg.qr(torch.randn(8, 2, dtype=dtype)).Q
    examples = torch.randn(3, 2, dtype=dtype) @ basis.T
    starts = torch.randn(300, 8, dtype=dtype)
    found = census(lambda x: x @ basis @ basis.T, starts, examples)
    assert found.continuum
    assert found.counts == {-1: 300}
    assert len(found.limits) == 1
    assert found.limits[0].radius == pytest.approx(1)
    assert (found.limits[0].attracting, found.limits[0].unstable) == (False, False)
    assert "continuum" in str(found)


def test_a_projection_that_holds_only_up_to_the_rounding_of_its_weights_is_a_continuum():
    # in float64 its eigenvalues are 1 up to 1e-7 and its only fixed point is 0; no float32 orbit goes there
    basis = torch.linalg.qr(torch.randn(20, 3)).Q
    model = nn.Linear(20, 20, bias=False)
    model.weight.data = basis @ basis.T
    found = census(model, torch.randn(300, 20), torch.randn(3, 3) @ basis.T)
    assert found.counts == {-1: 300}
    assert found.continuum
    assert [limit.attracting or limit.unstable for limit in found.limits] == [False]


def test_an_orbit_that_rests_far_from_the_fixed_point_ends_there_all_the_same():
    # float32 rests 0.01 away, where a step is below its resolution; in float64 the way goes on
    starts = column(1.01, dtype=torch.float32)
    found = census(lambda x: 1 + (1 - 8e-5) * (x - 1), starts, column(3.0), eps=0.01)
    assert found.steps.tolist() == [1]
    assert found.label.tolist() == [-1]
    assert found.points.item() == pytest.approx(1)


def test_a_continuum_costs_no_certificate_for_each_start():
    calls = []

    def f(x):
        calls.append(len(x))
        return 1.0 * x

    assert census(f, torch.rand(3000, 2), torch.ones(1, 2)).counts == {-1: 3000}
    # two evaluations to see that a start rests, two of each push (long and short, to either side), two derivatives
    assert sum(calls) < 13 * 3000


@pytest.mark.parametrize(("examples", "eps"), [((-1.0,), 0.1), ((-1.0, 50.0), 30)])
def test_an_attractor_beside_a_continuum_keeps_its_start(examples, eps):
    # everything right of 0 stays where it is, everything left of it goes to -1, one start alone
    def f(x):
        return torch.where(x > 0, x, -1 + 0.5 * (x + 1))

    starts = torch.cat([torch.linspace(5, 90, 400, dtype=torch.float64)[:, None], column(-0.7)])
    found = census(f, starts, column(*examples), eps=eps)
    assert found.label.tolist() == [-1] * 400 + [0]
    assert found.continuum


@pytest.mark.parametrize("point", [-1.0, 0.0, 2.0])
def test_the_identity_is_a_continuum_even_from_one_start(point):
    found = census(lambda x: 1 * x, column(point), column(2.0))
    assert found.continuum
    assert found.counts == {-1: 1}


def test_points_of_radius_one_that_are_alone_are_no_continuum():
    # rotation about the origin, and u -> u - u^3, slower than any power: radius 1 at the one fixed point
    starts = torch.zeros(1, 2, dtype=torch.float64)
    assert not census(rotate(222.5), starts, torch.ones(1, 2)).continuum
    calls = []

    def f(x):
        calls.append(len(x))
        return x - x**3

    found = census(f, column(0.0, 0.1), column(3.0))
    assert found.label.tolist() == [-1, -1]  # 0.1 ends at 0 as well
    assert len(found.limits) == 1
    assert not found.continuum
    assert len(calls) < 10_000  # nor is the slow one asked for every period


def test_a_push_that_leads_far_away_is_no_continuum():
    # 1 is semistable: what is pushed to its right goes on to 2
    found = census(lambda x: x + 0.1 * (x - 1) ** 2 * (2 - x), column(1.0, 1.5), column(9.0), eps=0.5)
    assert found.label.tolist() == [-1, -1]
    assert sorted(limit.radius for limit in found.limits) == pytest.approx([0.9, 1])
    assert not found.continuum


def test_a_continuum_of_fixed_points_and_one_of_cycles_are_told_apart():
    def f(x):  # the right half stays where it is, the left half is mirrored
        return torch.stack([x[:, 0], torch.where(x[:, 0] > 0, x[:, 1], -x[:, 1])], 1)

    starts = torch.randn(100, 2, dtype=torch.float64)
    found = census(f, starts, torch.full((1, 2), 5.0))
    expected = torch.where(starts[:, 0] > 0, -1, -2)
    assert torch.equal(found.label, expected)
    assert [limit.continuum for limit in found.limits] == [True, True]


def test_all_starts_of_a_constant_map_end_at_its_value():
    examples = torch.rand(5, 7)
    starts = torch.rand(20, 7)
    found = census(lambda x: examples[2].expand_as(x).to(x), starts, examples)
    assert found.counts == {2: 20}
    assert found.limits[0].radius == 0
    mean = census(lambda x: examples.mean(0).expand_as(x).to(x), starts, examples)
    assert mean.counts == {-1: 20}
    assert mean.limits[0].attracting


def test_duplicates_count_for_the_first_of_them():
    examples = column(-1.0, 1.0, 1.0, -1.0)
    with pytest.warns(UserWarning, match="exact duplicates"):
        found = census(cubic, column(0.5, -0.5), examples)
    assert found.label.tolist() == [1, 0]
    assert found.margin.tolist() == pytest.approx([2, 2])
    assert {limit.example for limit in found.limits} == {0, 1}
    apart = census(cubic, column(0.5), column(7.0, 7.0, 1.0), eps=0.1)  # the duplicates come first
    assert apart.label.tolist() == [2]


@DTYPES
@pytest.mark.parametrize(("r", "period", "radius"), [(3.2, 2, 0.16), (3.5, 4, None), (3.83, 3, None)])
def test_cycles_of_the_logistic_map_have_their_known_period_and_multiplier(r, period, radius, dtype):
    f = logistic(r)
    starts = torch.rand(100, 1, dtype=dtype) * 0.98 + 0.01
    examples = torch.full((1, 1), 0.5, dtype=dtype)
    found = census(f, starts, examples, eps=0.01)
    assert found.counts == {-2: 100}
    (limit,) = found.limits  # one cycle, whatever the phase
    expected = ("cycle", period, -1, True)
    assert (limit.kind, limit.period, limit.example, limit.attracting) == expected
    expected = limit.points.roll(-1, 0)
    torch.testing.assert_close(f(limit.points), expected, rtol=1e-5, atol=1e-5)
    slopes = (r * (1 - 2 * limit.points.double())).prod().abs().item()  # chain rule around the cycle
    assert limit.radius == pytest.approx(slopes, rel=1e-4)
    if radius is not None:
        assert limit.radius == pytest.approx(radius, abs=1e-6)  # 4 + 2r - r^2
    expected = (limit.points - 0.5).abs().min().item()
    assert limit.offset == pytest.approx(expected)
    phase = iterate(f, starts, 1000, tol=0).points  # every start ends at its own phase
    torch.testing.assert_close(found.points, phase, rtol=1e-4, atol=1e-4)


def test_chaos_and_quasiperiodic_motion_stay_undecided():
    starts = torch.rand(100, 1, dtype=torch.float64) * 0.98 + 0.01
    calls = []

    def f(x):
        calls.append(len(x))
        return logistic(4.0)(x)

    found = census(f, starts, column(0.5), eps=0.1)
    assert found.counts == {-4: 100}
    assert len(calls) < 4000  # returns by chance are not certified
    assert (found.limit == -1).all()
    assert found.limits == ()
    # an irrational part of the circle: the orbit never closes
    golden = 180 * (5**0.5 - 1)
    assert census(rotate(golden), torch.randn(50, 2).double(), torch.ones(1, 2)).counts == {-4: 50}


@pytest.mark.parametrize(("degrees", "period"), [(180, 2), (90, 4), (72, 5)])
def test_rotations_are_neutral_cycles(degrees, period):
    found = census(rotate(degrees), torch.randn(100, 2, dtype=torch.float64), torch.ones(1, 2))
    assert found.counts == {-2: 100}
    (limit,) = found.limits
    assert limit.period == period
    assert limit.radius == pytest.approx(1)
    assert not limit.attracting
    assert limit.continuum
    starts = torch.ones(1, 2).double()
    assert census(rotate(degrees), starts, torch.ones(1, 2), max_period=period - 1).counts == {-4: 1}


def test_a_slow_spiral_into_a_cycle_is_decided():
    # period 3 around the origin at radius 1, reached at a rate of .998 a step
    def f(x):
        size = x.norm(dim=1, keepdim=True)
        return rotate(120)(x / size * (1 + 0.998 * (size - 1)))

    starts = torch.tensor([[1.1, 0.0], [0.0, -0.9]], dtype=torch.float64)
    examples = torch.full((1, 2), 5.0)
    found = census(f, starts, examples, eps=0.5)
    assert found.label.tolist() == [-2, -2]
    assert [limit.period for limit in found.limits] == [3]
    expected = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(found.points.norm(dim=1), expected)


def test_a_cycle_of_a_module_is_certified_in_float64():
    direction = torch.arange(1.0, 7)
    model = nn.Sequential(nn.Linear(6, 1, bias=False), nn.Tanh(), nn.Linear(1, 6, bias=False))
    model[0].weight.data = -2 * direction[None] / direction.norm() ** 2
    model[2].weight.data = direction[:, None].clone()
    found = census(model, torch.randn(30, 6), torch.rand(2, 6))
    assert found.counts == {-2: 30}
    (limit,) = found.limits
    assert limit.period == 2
    # along the direction s -> tanh(-2 s): s* = tanh(2 s*), slope of the square (2 / cosh^2 2s*)^2
    s = (limit.points[0].double() @ direction.double() / direction.double().norm() ** 2).abs().item()
    assert s == pytest.approx(math.tanh(2 * s), abs=1e-6)
    expected = (2 / math.cosh(2 * s) ** 2) ** 2
    assert limit.radius == pytest.approx(expected, rel=1e-5)
    assert limit.radius_error < 1e-9
    assert model[0].weight.dtype == torch.float32
    assert census(model, found.points[:1], limit.points[:1], eps=0.1).counts == {-2: 1}  # a cycle through an example


@pytest.mark.parametrize("rate", [0.999, -0.999])
def test_slow_orbits_are_labelled_by_the_fixed_point_ahead(rate):
    centre = column(2.0, 9.0)
    starts = centre[:1] + torch.linspace(-0.3, 0.3, 41, dtype=torch.float64)[:, None]

    def f(x):
        return 2 + rate * (x - 2)

    assert not iterate(f, starts, 1000).converged.all()
    found = census(f, starts, centre, eps=0.5)
    assert found.counts == {0: 41}
    assert [limit.period for limit in found.limits] == [1]
    assert found.limits[0].radius == pytest.approx(0.999)
    torch.testing.assert_close(found.points, torch.full_like(starts, 2), rtol=0, atol=1e-10)
    (limit,) = census(f, starts[[0, -1]], centre, eps=0.5).limits  # seen through f^2 alone, where the sign alternates
    expected = (1, pytest.approx(0.999, rel=1e-6))
    assert (limit.period, limit.radius) == expected


def test_slow_orbits_in_float32_settle_around_their_limit_and_are_gathered():
    # a cloud of resting points wider than the groups, in five dimensions
    centre = torch.full((1, 5), 3.0)
    starts = centre + torch.randn(400, 5)
    found = census(lambda x: centre.to(x) + 0.999 * (x - centre.to(x)), starts, centre, steps=8000, eps=0.1)
    assert found.counts == {0: 400}
    assert len(found.limits) == 1


def test_orbits_that_leave_the_number_range_are_divergent():
    assert census(lambda x: 2 * x, torch.rand(5, 2) + 0.1, torch.ones(1, 2)).counts == {-3: 5}
    found = census(lambda x: x**2, column(10.0, 0.5, 1.0), column(0.0, 30.0))
    assert found.label.tolist() == [-3, 0, -1]
    assert found.points.isfinite().all()
    assert found.steps[0] < 12


def piecewise(x):
    """Show around 0, 10, 20, 30 and 40 an attractor, another one, a cycle, chaos, and divergence."""
    y = x - 10 * (x / 10).round()
    kinds = [0.5 * y, 10 + 0.3 * y, 20 - y.sign() * 0.25 * (1 + y.abs()), 30 + 0.5 - 4 * y**2, x**2]
    index = (x / 10).round().clamp(0, 4).long()
    return torch.stack(kinds).gather(0, index[None])[0]


def test_all_kinds_of_ends_are_decided_in_one_batch():
    starts = column(0.2, 10.1, 20.1, 19.7, 30.123456, 40.0, -0.4, 10.0, 19.75, 20.25)
    examples = column(0.0, 50.0)
    found = census(piecewise, starts, examples, eps=0.1)
    expected = [0, -1, -2, -2, -4, -3, 0, -1, -2, -2]
    assert found.label.tolist() == expected
    expected = {-2: 4, 0: 2, -1: 2, -4: 1, -3: 1}
    assert found.counts == expected
    assert sum(found.counts.values()) == len(starts)
    assert [limit.count for limit in found.limits] == [4, 2, 2]
    assert found.limits[0].points.flatten().sort().values.tolist() == pytest.approx([19.8, 20.2], abs=0.2)
    assert found.limit.tolist()[4:6] == [-1, -1]


def test_one_point_without_a_jacobian_does_not_end_the_census():
    # a vertical tangent at 0, an attractor at 1
    found = census(lambda x: x.abs().sqrt(), column(0.0, 0.3, 4.0), column(1.0), eps=0.1)
    assert found.label.tolist() == [-4, 0, 0]


def test_one_point_without_finite_neighbours_does_not_end_the_census():
    found = census(lambda x: torch.where((x == 0) | (x > 3), x, torch.nan), column(0.0, 5.0), column(1.0), eps=0.1)
    assert found.label.tolist() == [-4, -1]


def test_limits_beyond_the_most_that_are_certified_are_undecided():
    def f(x):  # one attractor at each whole number
        return x - 0.1 * torch.sin(2 * torch.pi * x)

    starts = torch.arange(200, dtype=torch.float64)[:, None] + 0.2
    starts = torch.cat([starts, starts[150:160]])
    whole = census(f, starts, column(70.0, 71.0))
    assert whole.counts == {-1: 208, 0: 1, 1: 1}
    few = census(f, starts, column(70.0, 71.0), max_limits=15)
    assert few.label[[70, 71]].tolist() == [0, 1]  # those near an example come first
    assert (few.label[150:160] == -1).all()  # then the large groups
    assert few.counts[-4] == 210 - 2 - 20 - 3


def test_an_untrained_network_has_one_spurious_limit():
    model = FullyConnected(shape=(1, 6, 6), depth=4, width=20)
    starts = torch.rand(50, 1, 6, 6)
    found = census(model, starts, torch.rand(5, 1, 6, 6))
    assert found.counts == {-1: 50}
    assert [limit.kind for limit in found.limits] == ["spurious"]
    assert found.limits[0].attracting


def test_every_probe_of_a_checkpoint_ends_at_a_training_image():
    model = memzoo.load("mnist20-fc14x128")
    found = census(model, model.probes, model.examples)
    assert (found.label >= 0).all()
    expected = sorted(found.counts.values(), reverse=True)
    assert list(found.counts.values()) == expected
    assert (found.distance < 1e-4).all()
    assert (found.margin > 1).all()
    certified = certify(model, model.examples)
    for limit in found.limits:
        expected = certified.radius[limit.example].item()
        assert limit.radius == pytest.approx(expected, rel=1e-4)
    table = str(found).splitlines()
    assert len(table) == 2 + 12 + 1
    assert table[-1].startswith("and 8 more")
    expected = sum(limit.count for limit in found.limits[12:])
    assert int(table[-1].split()[3]) == expected


def test_the_share_of_a_label_has_a_wilson_interval():
    starts = column(*[1.0] * 3 + [-1.0] * 7)
    found = census(torch.sign, starts, column(1.0, -1.0))
    z = 1.959963984540054
    n = 10
    p = 0.3
    for bound in found.share(0)[1:]:  # the ends solve (p - bound)^2 = z^2 bound (1 - bound) / n
        # Wilson (1927): the ends q solve (p - q)^2 = z^2 q (1 - q) / n
        expected = z**2 * bound * (1 - bound) / n
        assert (p - bound) ** 2 == pytest.approx(expected)
    assert found.share(0).low < 0.3 < found.share(0).high
    # without a hit the interval is [0, z^2 / (n + z^2)]
    expected = (0, 0, z**2 / (n + z**2))
    assert found.share(5) == pytest.approx(expected)
    narrow = census(torch.sign, column(*[1.0] * 3 + [-1.0] * 7), column(1.0, -1.0), confidence=0.5)
    assert narrow.share(0).low > found.share(0).low


def test_the_census_prints_as_a_table():
    starts = column(0.2, 0.3, 10.1, 20.1, 30.123456, 40.0)
    found = census(piecewise, starts, column(0.0, 50.0), eps=0.1)
    lines = str(found).splitlines()
    assert lines[0] == "6 starts, eps = 0.1"
    expected = [
        "training 0",
        "spurious",
        "cycle of 2",
        "divergent",
        "undecided",
    ]
    assert [line[:22].strip() for line in lines[2:]] == expected
    assert lines[2].split()[2:] == ["2", "33.3", "[9.7,", "70.0]", "0.500"]
    expected = ["end", "starts", "share", "%", "95", "%", "interval", "radius"]
    assert lines[1].split() == expected


@pytest.mark.parametrize("spread", [1e-3, 0.3])
def test_clusters_equal_their_definition(spread):
    points = (
        torch.randn(4, 50).repeat_interleave(torch.tensor([5, 30, 1, 14]), 0) + spread * torch.randn(50, 50) / 50**0.5
    )
    groups = find_clusters(points, 0.1)
    assert sorted(torch.cat(groups).tolist()) == list(range(50))
    expected = [30, 14, 5, 1] if spread < 0.1 else [1] * 50
    assert [len(group) for group in groups] == expected
    for group in groups:
        assert (points[group] - points[group[0]]).norm(dim=1).max() <= 0.1


def test_no_point_is_in_two_clusters():
    # the middle one is near to both others, which are not near each other
    points = torch.tensor([[0.0, 0.0], [0.02, 0.15], [0.05, 0.08]])
    groups = find_clusters(points, 0.1)
    assert [len(group) for group in groups] == [2, 1]


def test_arguments_that_make_no_sense_are_refused():
    starts = torch.rand(2, 3)
    examples = torch.rand(2, 3)
    with pytest.raises(NonFiniteError, match=r"starts holds NaN or infinity in 1 of 1 rows"):
        census(torch.tanh, torch.full((1, 3), torch.nan), examples)
    with pytest.raises(NonFiniteError, match=r"examples holds NaN"):
        census(torch.tanh, starts, torch.full((1, 3), torch.nan))
    with pytest.raises(ValueError, match=r"starts and examples must be points of one space"):
        census(torch.tanh, starts, torch.rand(2, 4))
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 0"):
        census(torch.tanh, starts, examples, steps=-1)
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0"):
        census(torch.tanh, starts, examples, eps=0)
    with pytest.raises(ValueError, match=r"max_period must be a whole number >= 1, got 0"):
        census(torch.tanh, starts, examples, max_period=0)
    with pytest.raises(ValueError, match=r"max_limits must be a whole number >= 1, got 2\.5"):
        census(torch.tanh, starts, examples, max_limits=2.5)
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, got 95"):
        census(torch.tanh, starts, examples, confidence=95)
    with pytest.raises(NotASelfMapError, match=r"input \(2, 3\) became \(2, 2\)"):
        census(lambda x: x[:, :2], starts, examples)
    module = nn.Linear(3, 3)
    module.weight.data[0, 0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"parameter 'weight' holds NaN or infinity"):
        census(module, starts, examples)


def test_slow_orbits_that_are_together_but_part_later_are_followed_one_by_one():
    # after 1100 steps both are next to the repeller at 0 and all but at rest, one on either side of it
    starts = column(5e-10, -5e-10)

    def f(x):
        return x + 0.01 * (x - x**3)

    found = census(f, starts, column(1.0, -1.0), steps=1100, eps=1.5)
    assert found.label.tolist() == [0, 1]
    assert found.points.flatten().tolist() == pytest.approx([1, -1])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (
            (x / 0.01).round() * 0.01
        ),  # the identity in steps: each point of the grid is fixed, and none attracts
        lambda x: torch.where(x > 0.5, 0.5 + 1.01 * (x - 0.5), 0.5 + 0.9 * (x - 0.5)),  # grows on one side of 0.5
    ],
)
def test_no_start_ends_at_an_example_from_which_pushes_grow(f):
    examples = column(0.5, 4.5)
    found = census(f, column(0.5), examples, eps=0.4)
    assert found.label.tolist() != [0]
    assert not certify(f, examples, eps=0.4).attractor[0]


def test_a_start_ends_at_an_example_that_its_outputs_rest_on():
    # all points within 0.5 of a whole number go there
    found = census(torch.round, column(0.2, 3.3), column(0.0, 3.0), eps=0.4)
    assert found.label.tolist() == [0, 1]


def test_near_copies_are_one_example_unless_radii_are_given():
    # each of two near-copies is stable, a third image is too
    examples = column(0.0, 0.01, 1.0, 2.5, 5.0)

    def f(x):
        own = examples[(x - examples.mT).abs().argmin(1)]
        return own + 0.1 * (x - own)

    starts = column(-0.1, 0.1, 0.9, 5.2)
    found = census(f, starts, examples)
    assert found.label.tolist() == [0, 0, 2, 4]
    torch.testing.assert_close(found.margin, torch.tensor([1.0, 0.98, 0.99 - 0.01, 2.5]).double(), atol=0.02, rtol=0)
    apart = census(f, starts, examples, eps=torch.full((5,), 0.001))
    assert apart.label.tolist() == [0, 1, 2, 4]
    torch.testing.assert_close(apart.margin[:2], torch.tensor([0.01, 0.01]).double(), atol=1e-6, rtol=0)
    everything = census(f, starts[:2], torch.cat([examples[:1], examples[:1]]), eps=0.1)
    assert everything.margin.isinf().all()
