"""A change of units changes lengths and nothing else: maps seen in coordinates that are s times as large."""

import pytest
import torch

from memzoo.dynamics import (
    basin_radius,
    census,
    certify,
    close_pairs,
    default_eps,
    find_attractors,
    iterate,
    nearest_margin,
    recall_against_noise,
    recovery_curve,
    spectrum,
)

EXAMPLES = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [0.5, -1.0]], dtype=torch.float64)
STARTS = torch.tensor([[0.9, 1.2], [-0.2, 0.5], [0.3, -0.1], [0.0, 0.7], [-2.0, -2.0]], dtype=torch.float64)


def corners(x):
    """Attractors at the four corners (+-1, +-1)."""
    return x + 0.3 * (x - x**3)


def line(x):
    """Every point of the first axis rests, and all others go there."""
    return torch.stack([x[:, 0], 0.5 * x[:, 1]], 1)


def turn(x):
    """A cycle of two, between (1, 0) and (-1, 0)."""
    return torch.stack([-x[:, 0] - 0.3 * (x[:, 0] - x[:, 0] ** 3), 0.5 * x[:, 1]], 1)


def explode(x):
    """The origin attracts the unit disc, all else leaves the number range."""
    return x * x.norm(dim=1, keepdim=True)


MAPS = {"corners": corners, "line": line, "turn": turn, "explode": explode}


@pytest.fixture(params=MAPS)
def in_units(request):
    """The map in units s times as small."""
    f = MAPS[request.param]
    return lambda s: lambda x: s * f(x / s)


SCALES = [2.0**-20, 2.0**20]  # exact in binary arithmetic: every comparison falls out the same


@pytest.mark.parametrize("s", SCALES)
def test_certificates(in_units, s):
    one = certify(in_units(1), EXAMPLES, eps=0.2, steps=100)
    other = certify(in_units(s), s * EXAMPLES, eps=0.2 * s, steps=100)
    for name in ("fixed", "distinct", "returns", "limit_of", "attractor"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("points", "offset"):
        mine, theirs = s * getattr(one, name)[one.fixed], getattr(other, name)[one.fixed]
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9 * s)
    torch.testing.assert_close(one.radius, other.radius, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("s", SCALES)
def test_where_orbits_end(in_units, s):
    one = census(in_units(1), STARTS, EXAMPLES, steps=100, eps=0.2, max_period=3)
    other = census(in_units(s), s * STARTS, s * EXAMPLES, steps=100, eps=0.2 * s, max_period=3)
    assert one.label.tolist() == other.label.tolist()
    assert [(a.kind, a.count, a.period, a.continuum) for a in one.limits] == [
        (a.kind, a.count, a.period, a.continuum) for a in other.limits
    ]
    torch.testing.assert_close(s * one.distance, other.distance, rtol=1e-6, atol=1e-9 * s)
    torch.testing.assert_close(s * one.margin, other.margin, rtol=1e-6, atol=1e-9 * s, equal_nan=True)


@pytest.mark.parametrize("s", SCALES)
def test_attractors_that_are_found(in_units, s):
    settings = {"steps": 100, "max_period": 3}
    one = find_attractors(in_units(1), STARTS, **settings)
    other = find_attractors(in_units(s), s * STARTS, **settings)
    assert one.index.tolist() == other.index.tolist()
    assert (one.resting, one.divergent, one.moving) == (other.resting, other.divergent, other.moving)
    assert other.eps == pytest.approx(s * one.eps)


@pytest.mark.parametrize("s", SCALES)
def test_recovery_and_recall(in_units, s):
    one = recovery_curve(in_units(1), STARTS, EXAMPLES, 20, eps=0.3, offset=torch.nan)
    other = recovery_curve(in_units(s), s * STARTS, s * EXAMPLES, 20, eps=0.3 * s, offset=torch.nan)
    for name in ("rate", "ever", "arrived", "recovered_at", "reached", "ended_at"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    noise = [0.0, 0.3, 1.0]
    one = recall_against_noise(in_units(1), EXAMPLES, noise, draws=8, steps=50, eps=0.3)
    other = recall_against_noise(
        in_units(s), s * EXAMPLES, [s * level for level in noise], draws=8, steps=50, eps=0.3 * s
    )
    for name in ("rate", "per_example", "nearest", "confused", "input_nearest"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("s", SCALES)
def test_orbits_and_spectra(in_units, s):
    one, other = iterate(in_units(1), STARTS, 30), iterate(in_units(s), s * STARTS, 30)
    assert ((one.steps - other.steps).abs() <= 1).all()  # where numbers overflow and underflow is no matter of units
    assert torch.equal(one.converged, other.converged)
    assert torch.equal(one.diverged, other.diverged)
    torch.testing.assert_close(spectrum(in_units(1), STARTS).radius, spectrum(in_units(s), s * STARTS).radius)


@pytest.mark.parametrize("s", SCALES)
def test_balls(s):
    one = basin_radius(corners, EXAMPLES[:1], 0.1, directions=4, steps=50)
    other = basin_radius(lambda x: s * corners(x / s), s * EXAMPLES[:1], 0.1 * s, directions=4, steps=50)
    torch.testing.assert_close(s * one.radius, other.radius, rtol=1e-9, atol=0)


@pytest.mark.parametrize("s", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances(s, dtype):
    points, examples = torch.rand(40, 7, dtype=dtype), torch.rand(30, 7, dtype=dtype)
    one, other = nearest_margin(points, examples), nearest_margin(s * points, s * examples)
    assert torch.equal(one.index, other.index)
    torch.testing.assert_close(s * one.absolute, other.absolute, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.relative, other.relative, rtol=1e-12, atol=1e-12)
    assert [pair.tolist() for pair in close_pairs(points, examples, 0.7)] == [
        pair.tolist() for pair in close_pairs(s * points, s * examples, 0.7 * s)
    ]
    assert default_eps(s * examples) == pytest.approx(s * default_eps(examples), rel=1e-12)
