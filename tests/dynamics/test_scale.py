"""A change of units changes lengths and nothing else: the same maps in coordinates that are s times as large."""

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
    """Attract to the four corners (+-1, +-1)."""
    return x + 0.3 * (x - x**3)


def line(x):
    """Keep every point of the first axis, and attract all others to that axis."""
    return torch.stack([x[:, 0], 0.5 * x[:, 1]], 1)


def turn(x):
    """Attract to a cycle of two, between (1, 0) and (-1, 0)."""
    first = x[:, 0]
    return torch.stack([-first - 0.3 * (first - first**3), 0.5 * x[:, 1]], 1)


def explode(x):
    """Attract the unit disc to the origin; all other points leave the number range."""
    return x * x.norm(dim=1, keepdim=True)


MAPS = {"corners": corners, "line": line, "turn": turn, "explode": explode}


@pytest.fixture(params=MAPS)
def in_units(request):
    """Return the map as a function of s, in units s times as small."""
    f = MAPS[request.param]
    return lambda s: lambda x: s * f(x / s)


def check_equal(one, other, *names):
    for name in names:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


SCALES = [2.0**-20, 2.0**20]  # powers of two are exact, so every comparison has the same result


@pytest.mark.parametrize("s", SCALES)
def test_certificates_do_not_depend_on_the_unit(in_units, s):
    one = certify(in_units(1), EXAMPLES, eps=0.2, steps=100)
    other = certify(in_units(s), s * EXAMPLES, eps=0.2 * s, steps=100)
    check_equal(one, other, "fixed", "distinct", "returns", "limit_of", "attractor")
    for name in ("points", "offset"):
        expected = s * getattr(one, name)[one.fixed]
        found = getattr(other, name)[one.fixed]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9 * s)
    torch.testing.assert_close(one.radius, other.radius, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("s", SCALES)
def test_the_census_does_not_depend_on_the_unit(in_units, s):
    one = census(in_units(1), STARTS, EXAMPLES, steps=100, eps=0.2, max_period=3)
    other = census(in_units(s), s * STARTS, s * EXAMPLES, steps=100, eps=0.2 * s, max_period=3)
    assert one.label.tolist() == other.label.tolist()
    assert len(one.limits) == len(other.limits)
    for mine, theirs in zip(one.limits, other.limits, strict=True):
        for name in ("kind", "count", "period", "continuum"):
            assert getattr(mine, name) == getattr(theirs, name), name
    # lengths are s times as large
    torch.testing.assert_close(s * one.distance, other.distance, rtol=1e-6, atol=1e-9 * s)
    torch.testing.assert_close(s * one.margin, other.margin, rtol=1e-6, atol=1e-9 * s, equal_nan=True)


@pytest.mark.parametrize("s", SCALES)
def test_the_attractors_that_are_found_do_not_depend_on_the_unit(in_units, s):
    settings = {"steps": 100, "max_period": 3}
    one = find_attractors(in_units(1), STARTS, **settings)
    other = find_attractors(in_units(s), s * STARTS, **settings)
    assert one.index.tolist() == other.index.tolist()
    for name in ("resting", "divergent", "moving"):
        assert getattr(one, name) == getattr(other, name), name
    assert other.eps == pytest.approx(s * one.eps)


@pytest.mark.parametrize("s", SCALES)
def test_recovery_and_recall_do_not_depend_on_the_unit(in_units, s):
    one = recovery_curve(in_units(1), STARTS, EXAMPLES, 20, eps=0.3, offset=torch.nan)
    other = recovery_curve(in_units(s), s * STARTS, s * EXAMPLES, 20, eps=0.3 * s, offset=torch.nan)
    check_equal(one, other, "rate", "ever", "arrived", "recovered_at", "reached", "ended_at")
    noise = [0.0, 0.3, 1.0]
    scaled_noise = [s * level for level in noise]
    one = recall_against_noise(in_units(1), EXAMPLES, noise, draws=8, steps=50, eps=0.3)
    other = recall_against_noise(in_units(s), s * EXAMPLES, scaled_noise, draws=8, steps=50, eps=0.3 * s)
    check_equal(one, other, "rate", "per_example", "nearest", "confused", "input_nearest")


@pytest.mark.parametrize("s", SCALES)
def test_orbits_and_spectra_do_not_depend_on_the_unit(in_units, s):
    one = iterate(in_units(1), STARTS, 30)
    other = iterate(in_units(s), s * STARTS, 30)
    assert ((one.steps - other.steps).abs() <= 1).all()  # overflow and underflow depend on the unit
    assert torch.equal(one.converged, other.converged)
    assert torch.equal(one.diverged, other.diverged)
    radius = spectrum(in_units(s), s * STARTS).radius
    torch.testing.assert_close(radius, spectrum(in_units(1), STARTS).radius)


@pytest.mark.parametrize("s", SCALES)
def test_the_radius_of_a_basin_scales_with_the_unit(s):
    one = basin_radius(corners, EXAMPLES[:1], 0.1, directions=4, steps=50)
    other = basin_radius(lambda x: s * corners(x / s), s * EXAMPLES[:1], 0.1 * s, directions=4, steps=50)
    torch.testing.assert_close(s * one.radius, other.radius, rtol=1e-9, atol=0)


@pytest.mark.parametrize("s", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_scale_with_the_unit(s, dtype):
    points = torch.rand(40, 7, dtype=dtype)
    examples = torch.rand(30, 7, dtype=dtype)
    one = nearest_margin(points, examples)
    other = nearest_margin(s * points, s * examples)
    assert torch.equal(one.index, other.index)
    torch.testing.assert_close(s * one.absolute, other.absolute, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.relative, other.relative, rtol=1e-12, atol=1e-12)
    pairs = close_pairs(points, examples, 0.7)
    scaled_pairs = close_pairs(s * points, s * examples, 0.7 * s)
    expected = [indices.tolist() for indices in scaled_pairs]
    assert [indices.tolist() for indices in pairs] == expected
    assert default_eps(s * examples) == pytest.approx(s * default_eps(examples), rel=1e-12)
