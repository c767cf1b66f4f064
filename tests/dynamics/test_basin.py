import pytest
import torch
from plane_maps import halves

from memzoo.dynamics import certify
from memzoo.dynamics.attractors.basin import basin_radius


def measure_share(attractor, radius, count=20000):
    """Measure the share of a disc around the attractor that lies on its side of the boundary, by brute force."""
    angle = 2 * torch.pi * torch.rand(count)
    r = radius * torch.rand(count).sqrt()
    return ((attractor + r * angle.cos()) * attractor > 0).double().mean().item()


@pytest.mark.parametrize("directions", [16, 64])
def test_a_ball_lies_in_the_basin_except_for_the_stated_share(directions):
    attractors = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    found = basin_radius(halves, attractors, 0.01, directions=directions)
    # at most 29 balls are tried; each passes wrongly with share^directions at most
    assert found.share == pytest.approx((0.05 / 29) ** (1 / directions))
    for x, radius in zip((-1.0, 1.0), found.radius.tolist(), strict=True):
        assert 0.6 < radius < 1.7
        assert measure_share(x, radius) >= found.share


def test_the_promise_holds_as_often_as_stated():
    attractor = torch.tensor([[1.0, 0.0]])
    kept = 0
    for seed in range(40):
        found = basin_radius(halves, attractor, 0.01, directions=16, seed=seed)
        kept += measure_share(1.0, found.radius.item(), 4000) >= found.share
    assert kept >= 38


def test_a_ball_grows_without_end_in_a_global_basin_and_shrinks_to_nothing_at_a_repeller():
    everything = basin_radius(lambda x: 0.5 * x, torch.zeros(1, 3), 0.01, directions=8)
    assert everything.radius.item() > 1e3
    nothing = basin_radius(lambda x: 1.5 * x, torch.zeros(1, 3), 0.01, directions=8)
    assert nothing.radius.item() == 0


def test_an_orbit_that_diverges_does_not_end_at_the_attractor():
    # attracted to 0 within |x| < 1, infinity outside
    found = basin_radius(lambda x: x**3, torch.zeros(1, 1), 0.01, directions=32)
    assert 0.8 < found.radius.item() < 1.15


def test_a_certificate_holds_the_basin_radius_of_attractors_alone():
    examples = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = certify(halves, examples, directions=16)
    assert found.attractor.tolist() == [True, True, False]
    assert found.basin_radius.isnan().tolist() == [False, False, True]
    assert found.basin_share == pytest.approx((0.05 / 29) ** (1 / 16))
    assert certify(halves, examples).basin_radius.isnan().all()


def test_a_ball_that_mostly_leads_elsewhere_does_not_pass():
    # one grain in five of the plane, whatever the radius, leads elsewhere: at 64 directions a share of .89 is promised
    def f(x):
        grain = (x * 1e4).floor().to(torch.int64)
        elsewhere = (grain[:, 0] * 7919 + grain[:, 1] * 104729) % 5 == 0
        near = x.norm(dim=1) < 1e-3
        lost = (elsewhere & ~near)[:, None]
        return torch.where(lost, torch.full_like(x, torch.inf), 0.5 * x * near[:, None])

    assert basin_radius(f, torch.zeros(1, 2), 0.5, directions=64).radius < 2e-3  # the disc without grains


@pytest.mark.parametrize(("name", "value"), [("directions", 0), ("confidence", 1.0)])
def test_arguments_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"basin_radius needs .*{name} = {value}"):
        basin_radius(halves, torch.zeros(1, 2), 0.1, **{name: value})


class Watched:
    """Send every point to the origin at once, and keep the points that it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, x):
        self.seen += [row for row in x.double() if row.norm() > 0]
        return 0 * x


def test_every_ball_is_tried_with_new_points_drawn_uniformly_from_it():
    f = Watched()
    tol = 0.5
    basin_radius(f, torch.zeros(1, 3), tol, directions=100)
    checked = len(f.seen) % 100  # points where the map was checked
    points = torch.stack(f.seen[checked:]).reshape(-1, 100, 3)
    assert len(points) == 24  # the ball is doubled as long as all of it leads to the attractor
    directions = torch.nn.functional.normalize(points.flatten(0, 1), dim=1)
    cosines = (directions @ directions.T).fill_diagonal_(0)
    assert cosines.max() < 1 - 1e-9  # the same direction never comes twice: the balls are independent trials
    assert directions.mean(0).norm() < 0.05
    radii = tol * 2.0 ** torch.arange(24, dtype=torch.float64)
    volume = (points.norm(dim=2) / radii[:, None]) ** 3  # share of the ball that lies nearer: uniform in [0, 1]
    ordered = volume.flatten().sort().values
    assert (ordered - torch.linspace(0, 1, len(ordered))).abs().max() < 0.03  # Kolmogorov-Smirnov: 1.36 / sqrt(2400)


def test_the_same_seed_gives_the_same_balls():
    attractor = torch.tensor([[1.0, 0.0]])
    one, same, other = (basin_radius(halves, attractor, 0.01, directions=8, seed=seed).radius for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
