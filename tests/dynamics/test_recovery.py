import math
import warnings

import pytest
import torch
from plane_maps import halves

from memzoo.dynamics import recovery_curve
from memzoo.dynamics.orbits import distance_bounds
from memzoo.models import FullyConnected


def follow_definition(f, starts, examples, steps, eps):
    """Compute R_t and the share of starts at an example, straight from the definition."""
    rate = []
    arrived = []
    x = starts
    for t in range(steps + 1):
        x = f(x) if t else x
        close = (x[:, None].double() - examples[None].double()).flatten(2).norm(dim=2) < eps
        rate.append(close.any(0).double().mean().item())
        arrived.append(close.any(1).double().mean().item())
    return rate, arrived


@pytest.mark.parametrize("eps", [1e-3, 0.05, 0.4])
def test_curve_equals_the_definition_on_a_map_with_known_basins(eps):
    # two attractors at -1 and 1 on the first axis, the second axis shrinks: half of the square goes to each
    starts = torch.rand(300, 2, dtype=torch.float64) * 2 - 1
    examples = torch.tensor([[-1.0, 0], [1, 0], [0, 0.5]], dtype=torch.float64)
    curve = recovery_curve(halves, starts, examples, 40, eps=eps)
    rate, arrived = follow_definition(halves, starts, examples, 40, eps)
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)
    assert curve.rate[-1] == pytest.approx(2 / 3)
    sides = (starts[:, 0] > 0).long()
    assert torch.equal(curve.ended_at, sides)


@pytest.mark.filterwarnings("ignore:eps = 0.0001 is below 3 times")  # the only limit lies beside an example on the way
def test_freezing_settled_orbits_changes_no_decision():
    model = FullyConnected(shape=(1, 5, 5), depth=3, width=6).double()
    starts = torch.rand(50, 1, 5, 5).double()
    examples = torch.rand(4, 1, 5, 5).double()
    with torch.no_grad():
        examples[0] = model(model(model(model(starts[:1]))))[0]  # on an orbit, passed by on the way to the limit
    frozen = recovery_curve(model, starts, examples, 60, eps=1e-4, tol=None)
    free = recovery_curve(model, starts, examples, 60, eps=1e-4)
    assert torch.equal(frozen.rate, free.rate)
    assert torch.equal(frozen.recovered_at, free.recovered_at)


def test_a_settled_start_goes_on_counting():
    def f(x):
        assert len(x)  # some modules refuse an empty batch
        return x.sign()

    starts = torch.tensor([[0.3], [-2.0]])
    examples = torch.tensor([[1.0], [-1.0]])
    curve = recovery_curve(f, starts, examples, 5, eps=0.1)
    assert curve.rate.tolist() == [0, 1, 1, 1, 1, 1]
    assert curve.ended_at.tolist() == [0, 1]


def test_a_drift_of_a_few_units_in_the_last_place_is_followed():
    starts = torch.tensor([[1.0], [2.0]])
    examples = torch.tensor([[1.0], [-1.0]])
    curve = recovery_curve(lambda x: x * (1 - 5e-7), starts, examples, 300, eps=1e-4)
    assert curve.rate[[0, 100, 300]].tolist() == [0.5, 0.5, 0]


def test_passing_by_counts_at_its_time_only():
    # a rotation by 90 degrees passes each of the four points every fourth step
    def f(x):
        return torch.stack([-x[:, 1], x[:, 0]], 1)

    examples = torch.tensor([[0.0, 1], [-1, 0], [5, 5]])
    starts = torch.tensor([[1.0, 0]])
    curve = recovery_curve(f, starts, examples, 6, eps=0.1)
    expected = [0, 1 / 3, 1 / 3, 0, 0, 1 / 3, 1 / 3]
    assert curve.rate.tolist() == pytest.approx(expected)
    expected = [0, 1 / 3, *[2 / 3] * 5]
    assert curve.ever.tolist() == pytest.approx(expected)
    assert curve.recovered_at.tolist() == [1, 2, -1]
    assert curve.ended_at.tolist() == [1]


def spiral(x):
    """Drift slowly into the origin along a rotation: an orbit enters and leaves many overlapping balls."""
    angle = torch.tensor(0.3, dtype=x.dtype)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return 0.995 * x @ turn.mT


MAPS = {"spiral": spiral, "crawl": lambda x: 0.99 * x + 0.005, "two-cycle": lambda x: -x, "rest": lambda x: x}


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("eps", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("name", MAPS)
def test_curve_equals_the_definition_at_every_step(name, eps):
    starts = torch.randn(40, 2)
    examples = torch.randn(60, 2)
    curve = recovery_curve(MAPS[name], starts, examples, 120, eps=eps)
    rate, arrived = follow_definition(MAPS[name], starts, examples, 120, eps)
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)
    expected = list(accumulate_reached(MAPS[name], starts, examples, 120, eps))
    assert curve.ever.tolist() == pytest.approx(expected)


def accumulate_reached(f, starts, examples, steps, eps):
    x = starts
    reached = torch.zeros(len(examples), dtype=torch.bool)
    for t in range(steps + 1):
        x = f(x) if t else x
        reached |= (torch.cdist(x.double(), examples.double()) < eps).any(0)
        yield reached.double().mean().item()


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("gain", [1.0, 3.0, 6.0])  # contracting, several attractors, chaotic
def test_curve_of_a_random_network_equals_the_definition(gain):
    weight = gain * torch.randn(30, 30) / 30**0.5

    def f(x):
        return torch.tanh(x @ weight)

    starts = torch.rand(50, 30) - 0.5
    examples = torch.rand(20, 30) - 0.5
    for _ in range(5):
        examples = f(examples)
    curve = recovery_curve(f, starts, examples, 60, eps=2.0, block=50)
    rate, arrived = follow_definition(f, starts, examples, 60, 2.0)
    assert max(rate) > 0
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)


def test_a_diverging_start_is_followed_to_its_last_finite_point():
    examples = torch.tensor([[1.0], [4.0], [16.0]])
    starts = torch.tensor([[2.0], [1.0]])
    curve = recovery_curve(lambda x: x**2, starts, examples, 200, eps=0.5)
    # the orbit of 2 is 2, 4, 16, 256; the orbit of 1 rests at an example
    expected = [1 / 3, 2 / 3, 2 / 3, 1 / 3]
    assert curve.rate[:4].tolist() == pytest.approx(expected)
    assert curve.points.isfinite().all()
    assert curve.ended_at.tolist() == [-1, 0]


def pass_by_and_leave(where):
    """Build a map that sends everything to 1, and 1 to a place that is not a number or not finite."""
    return lambda x: torch.where((x - 1).abs() < 0.1, torch.full_like(x, where), 1 + 0 * x)


@pytest.mark.parametrize("where", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_orbit_that_has_left_the_number_range_is_near_to_nothing(where, dtype):
    starts = torch.tensor([[4.0], [1.0], [3.0]], dtype=dtype)
    examples = torch.tensor([[1.0], [9.0]], dtype=dtype)
    f = pass_by_and_leave(where)
    curve = recovery_curve(f, starts, examples, 4, eps=0.1)
    rate, arrived = follow_definition(f, starts, examples, 4, 0.1)
    assert curve.rate.tolist() == rate == [0.5, 0.5, 0, 0, 0]
    assert curve.arrived.tolist() == pytest.approx(arrived)
    assert curve.ever.tolist() == [0.5] * 5
    assert curve.recovered_at.tolist() == [0, -1]
    assert not curve.reached.any()
    assert curve.ended_at.tolist() == [-1, -1, -1]


def test_an_orbit_that_leaves_does_not_take_the_others_with_it():
    # 12 starts at the example, one leaves at each step: the share that has arrived falls one by one
    starts = torch.stack([torch.ones(12), torch.arange(12.0)], 1)

    def f(x):
        time = x[:, 1] - 1
        return torch.stack([torch.where(time < 0, math.inf, x[:, 0]), time], 1)

    curve = recovery_curve(f, starts, torch.tensor([[1.0, 0.0]]), 12, eps=50.0, offset=math.nan)
    assert curve.arrived.tolist() == pytest.approx([(12 - t) / 12 for t in range(13)])
    assert curve.rate.tolist() == [1.0] * 12 + [0.0]


def test_orbits_that_leave_in_latent_coordinates_count_nowhere():
    model = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.ReLU(), torch.nn.Linear(1, 6)).double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    starts = torch.tensor([[1e300] * 6, [-1.0] * 6], dtype=torch.float64)  # six times larger at each step, or zero
    examples = torch.zeros(1, 6, dtype=torch.float64) + 0.01
    for latent in (False, True):
        curve = recovery_curve(model, starts, examples, 40, eps=1e305, latent=latent, offset=math.nan)
        # 1e300 * 6^(t + 1/2) is within 1e305 up to t = 5
        assert curve.arrived.tolist() == [1.0] * 6 + [0.5] * 35
        assert curve.ended_at.tolist() == [-1, 0]


def round_and_shift(shift):
    """Build a map with an attractor ``shift`` to the right of each whole number."""
    return lambda x: x.round() + shift


def test_fixed_points_too_far_from_their_examples_cause_a_warning():
    examples = torch.tensor([[-1.0], [0.0], [2.0], [2.0]])
    with pytest.warns(UserWarning, match=r"eps = 0\.1 is below 3 times .* \(median 0\.05\).*raise eps or train longer"):
        curve = recovery_curve(round_and_shift(0.05), torch.zeros(1, 1), examples, 9, eps=0.1)
    assert curve.offset == pytest.approx(0.05)
    assert recovery_curve(round_and_shift(0.05), torch.zeros(1, 1), examples, 9, eps=0.16).offset == pytest.approx(0.05)
    assert len(curve.rate) == 10
    assert curve.arrived.tolist() == [1.0] * 10  # the orbits of the examples are no starts


def test_an_orbit_that_has_nearly_arrived_counts_for_the_offset():
    curve = recovery_curve(lambda x: 0.5 * x + 0.55, torch.zeros(1, 1), torch.ones(1, 1), 9, eps=0.4)
    assert curve.offset == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(("shift", "near"), [(0.3, True), (0.4, False)])
def test_the_offset_counts_orbits_that_end_twice_as_near_to_their_own_example_as_to_any_other(shift, near):
    # examples at 0 and 1; the orbit of 0 ends at the shift, that of 1 at 7, far from both
    examples = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    curve = recovery_curve(lambda x: torch.where(x < 0.9, shift, 7.0).to(x), examples, examples, 5, eps=10.0)
    assert curve.offset == pytest.approx(shift if near else math.nan, nan_ok=True)


def test_the_offset_of_duplicates_is_that_of_one_example():
    examples = torch.full((3, 1), 2.0)
    curve = recovery_curve(round_and_shift(0.05), torch.zeros(1, 1), examples, 9, eps=0.2)
    assert curve.offset == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("f", "examples"),
    [
        (lambda x: 0.0 * x + 0.4, [[0.0], [1.0]]),  # one limit for all, not clearly the first one's
        (lambda x: x + 0.01, [[0.0], [9.0]]),  # still moving
        (lambda x: 0.0 * x, [[5.0]]),  # the only example has left
        (lambda x: 1e30 * x**3, [[1.0], [2.0]]),  # divergent
    ],
)
def test_the_offset_is_unknown_if_no_orbit_stays_near(f, examples):
    assert math.isnan(recovery_curve(f, torch.zeros(1, 1), torch.tensor(examples), 5, eps=1e-3).offset)


def test_the_offset_of_many_examples_is_that_of_a_sample():
    rows = []

    def f(x):
        rows.append(len(x))
        return round_and_shift(0.01)(x)

    examples = torch.arange(1000.0)[:, None]
    curve = recovery_curve(f, torch.zeros(1, 1), examples, 3, eps=0.1)
    assert curve.offset == pytest.approx(0.01, rel=1e-2)
    assert max(rows) <= 256


def test_unrecoverable_is_proven_by_the_range_of_the_last_layer(monkeypatch):
    # outputs fill the line b + s w: the example on it is not excluded, the one beside it is
    model = FullyConnected(shape=(3,), depth=2, width=1)
    with torch.no_grad():
        model.net[-2].weight.copy_(torch.tensor([[1.0], [0], [0]]))
        model.net[-2].bias.copy_(torch.tensor([0.0, 2, 0]))
    examples = torch.tensor([[7.0, 2, 0], [7.0, 2, 1]])
    curve = recovery_curve(model, torch.rand(20, 3), examples, 5, eps=0.5)
    assert curve.unrecoverable.tolist() == [False, True]
    monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", 1)
    found = recovery_curve(model, torch.rand(20, 3), examples, 5, eps=0.5).unrecoverable.tolist()
    assert found == [False, True]
    found = recovery_curve(model, torch.rand(20, 3), examples, 5, eps=1.5).unrecoverable.tolist()
    assert found == [False, False]


def test_nothing_is_proven_within_the_rounding_of_the_orbits():
    # outputs fill the plane z = 0; float32 numbers near 10 are 1e-6 apart
    model = FullyConnected(shape=(3,), depth=2, width=2)
    with torch.no_grad():
        model.net[-2].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
        model.net[-2].bias.zero_()
    for height, proven in ((10.000001, False), (10.01, True)):
        examples = torch.tensor([[0.0, 0, height]])
        found = recovery_curve(model, torch.rand(5, 3), examples, 2, eps=10).unrecoverable.tolist()
        assert found == [proven]


ENDINGS = {
    "one layer": lambda: [torch.nn.Linear(3, 40)],
    "no bias": lambda: [torch.nn.Linear(3, 40, bias=False)],
    "two layers": lambda: [torch.nn.Linear(3, 12), torch.nn.Linear(12, 40)],
    "convolutions": lambda: [
        torch.nn.Unflatten(1, (3, 1, 1)),
        torch.nn.ConvTranspose2d(3, 5, 2),
        torch.nn.ConvTranspose2d(5, 10, 1),
        torch.nn.Flatten(),
    ],
}


@pytest.mark.filterwarnings("ignore:eps = .* is near the resolution")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ENDINGS)
def test_what_a_network_puts_out_is_never_proven_out_of_reach(name, dtype):
    model = torch.nn.Sequential(torch.nn.Linear(40, 3), torch.nn.Tanh(), *ENDINGS[name]()).to(dtype).eval()
    starts = torch.randn(60, 40).to(dtype)
    with torch.no_grad():
        examples = model(starts)
    for eps in (1e-15, 1e-7, 1e-3):
        curve = recovery_curve(model, starts, examples, 1, eps=eps, offset=math.nan)
        assert (curve.recovered_at == 1).all()
        assert not curve.unrecoverable.any()
    if dtype != torch.bfloat16:  # its rounding is too large for a proof
        away = examples + 10 * torch.randn(examples.shape).to(dtype)
        assert recovery_curve(model, starts, away, 1, eps=0.1, offset=math.nan).unrecoverable.all()


def test_nothing_is_proven_where_columns_of_the_last_layer_all_but_cancel():
    # 1e7 (u - v) with u = v up to rounding: sums of numbers of 1e7 are off by 1 in float32
    model = torch.nn.Sequential(torch.nn.Linear(30, 2), torch.nn.ReLU(), torch.nn.Linear(2, 30, bias=False))
    with torch.no_grad():
        model[2].weight[:, 1] = -model[2].weight[:, 0] * (1 + 1e-6 * torch.randn(30))
        model[0].bias.fill_(1e7)
        starts = torch.randn(50, 30)
        examples = model(starts)
    curve = recovery_curve(model, starts, examples, 1, eps=1e-3, offset=math.nan)
    assert (curve.recovered_at == 1).all()
    assert not curve.unrecoverable.any()


def test_a_unit_without_weights_does_not_prevent_a_proof():
    model = torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.ReLU(), torch.nn.Linear(2, 5, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [0.0] * 5]).T)
    examples = torch.tensor([[3.0, 0, 0, 0, 0], [3.0, 0, 1, 0, 0]])
    curve = recovery_curve(model, torch.randn(4, 5), examples, 1, eps=0.5, offset=math.nan)
    assert curve.unrecoverable.tolist() == [False, True]


@pytest.mark.parametrize("eps", [0.02, 0.3, 3.0])
def test_latent_iteration_decides_as_the_definition_does(eps):
    model = FullyConnected(shape=(1, 6, 6), depth=4, width=9).double()
    starts = torch.randn(60, 1, 6, 6).double()
    examples = torch.randn(12, 1, 6, 6).double()
    with torch.no_grad():
        orbit = starts[:3]
        for k in range(3):  # examples on orbits, and beside the range of the last layer
            orbit = model(orbit)
            examples[3 * k : 3 * k + 3] = orbit + 0.2 * k * torch.nn.functional.normalize(
                torch.randn_like(orbit), dim=3
            )
    curve = recovery_curve(model, starts, examples, 30, eps=eps, latent=True)
    with torch.no_grad():
        rate, arrived = follow_definition(model, starts, examples, 30, eps)
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)
    other = recovery_curve(model, starts, examples, 30, eps=eps, latent=False)
    assert torch.equal(curve.recovered_at, other.recovered_at)
    torch.testing.assert_close(curve.points, other.points)


def test_eps_below_the_resolution_causes_a_warning():
    with pytest.warns(UserWarning, match=r"eps = 1e-06 is near the resolution of torch\.float32"):
        recovery_curve(torch.tanh, torch.ones(1, 4), torch.ones(1, 4), 1, eps=1e-6)


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(
        ValueError, match=r"starts and examples must be points of one space, got shapes \(1, 3\) and \(2, 4\)"
    ):
        recovery_curve(torch.tanh, torch.zeros(1, 3), torch.rand(2, 4))
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got -1"):
        recovery_curve(torch.tanh, torch.zeros(1, 3), torch.rand(2, 3), eps=-1)


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("name", MAPS)
def test_each_example_is_recovered_within_its_own_radius(name):
    starts = torch.randn(25, 2)
    examples = torch.randn(12, 2)
    eps = 10 ** (2 * torch.rand(12, dtype=torch.float64) - 1.7)
    curve = recovery_curve(MAPS[name], starts, examples, 60, eps=eps)
    rate, arrived = follow_definition(MAPS[name], starts, examples, 60, eps)
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)
    assert torch.equal(curve.eps, eps)
    one = recovery_curve(MAPS[name], starts, examples, 60, eps=0.3)
    same = recovery_curve(MAPS[name], starts, examples, 60, eps=torch.full((12,), 0.3))
    assert torch.equal(one.rate, same.rate)


def test_a_near_copy_takes_no_example_from_those_that_are_recovered():
    images = torch.rand(20, 36)
    with_copy = torch.cat([images, images[:1] + 1e-5 * torch.randn(1, 36)])

    def look_up(x):
        return 0.999 * images[torch.cdist(x, images).argmin(1)]

    starts = torch.rand(200, 36)
    alone = recovery_curve(look_up, starts, images, 3)
    together = recovery_curve(look_up, starts, with_copy, 3)
    assert alone.reached.sum() > 15
    assert torch.equal(together.reached[:20], alone.reached)
    assert together.reached[20] == alone.reached[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_examples_keep_their_own_precision(dtype):
    # a start at 1 or 2048, and an example off by less than the type of the starts can say
    resolution = torch.finfo(dtype).eps
    for value in (1.0, 2048.0):
        for share in (0.3, 0.45):
            starts = torch.tensor([[value]]).to(dtype)
            examples = torch.tensor([[value * (1 + share * resolution)]], dtype=torch.float64)
            gap = (examples - starts.double()).item()
            for factor, reached in ((0.9, False), (1.1, True)):
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="eps = .* is near the resolution")
                    curve = recovery_curve(lambda x: x, starts, examples, 2, eps=factor * gap, offset=math.nan)
                assert curve.rate.bool().tolist() == [reached] * 3
                assert curve.reached.tolist() == [reached]


def test_latent_orbits_are_compared_with_examples_in_their_own_precision():
    # a projection to a line in float32, with examples in float64 on that line
    model = torch.nn.Sequential(torch.nn.Linear(40, 1, bias=False), torch.nn.Linear(1, 40, bias=False))
    direction = torch.full((40,), 40**-0.5)
    model[0].weight.data = direction[None]
    model[1].weight.data = direction[:, None]
    examples = (1 + 1e-9) * direction.double()[None]
    starts = direction[None]
    eps = (examples - starts.double()).norm().item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert recovery_curve(model, starts, examples, 0, eps=1.01 * eps, latent=True).reached.all()
        assert not recovery_curve(model, starts, examples, 0, eps=0.99 * eps, latent=True).reached.any()
        assert recovery_curve(model, starts, examples, 9, eps=1e-3, latent=True).reached.all()
