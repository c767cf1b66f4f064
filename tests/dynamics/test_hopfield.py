import math

import pytest
import torch
from torch.func import jacrev, vmap

from memzoo.dynamics import (
    certify,
    dense_associative_memory,
    find_attractors,
    hopfield,
    iterate,
    polynomial_memory,
    recall_against_noise,
    spectrum,
)
from memzoo.errors import NonFiniteError

WIDE = torch.float64
BINARY = [
    hopfield,
    lambda patterns: hopfield(patterns, gain=9),
    lambda patterns: polynomial_memory(patterns, degree=3),
]
ALL = [*BINARY, lambda patterns: dense_associative_memory(patterns, beta=1)]


def signs(n, *shape, seed=0):
    return torch.randint(0, 2, (n, *shape), generator=torch.Generator().manual_seed(seed)).to(WIDE) * 2 - 1


def hadamard(size):
    """Build orthogonal rows of -1 and 1 (Sylvester)."""
    rows = torch.ones(1, 1, dtype=WIDE)
    while len(rows) < size:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows


def measure_wrong_units(load, units=1000):
    patterns = signs(round(load * units), units)
    ends = iterate(hopfield(patterns), patterns[:40], 100).points
    return (ends != patterns[:40]).double().mean(1)


def test_orthogonal_patterns_are_fixed_points_of_hebbs_rule():
    # the field at a pattern is (1 - n / N) of it
    rows = hadamard(32)
    for n in (1, 5, 16, 31):
        found = hopfield(rows[:n])(rows[:n])
        assert torch.equal(found, rows[:n])
    x = signs(3, 32)
    assert torch.equal(hopfield(rows)(x), x)  # the weights are the identity without its diagonal: no field


def test_the_map_equals_the_product_with_the_weight_matrix():
    patterns = signs(7, 3, 5)
    x = torch.randn(9, 3, 5, dtype=WIDE)
    flat = patterns.flatten(1)
    weight = flat.T @ flat / 15
    weight.fill_diagonal_(0)
    # Hebb's rule: W = P^T P / N without its diagonal
    field = x.flatten(1) @ weight
    assert torch.equal(hopfield(patterns)(x).flatten(1), field.sign())
    found = hopfield(patterns, gain=2.5)(x).flatten(1)
    torch.testing.assert_close(found, torch.tanh(2.5 * field))


def test_a_single_pattern_attracts_all_that_agree_with_it_in_more_than_half():
    pattern = signs(1, 21)
    start = pattern.clone()
    start[0, :9] *= -1
    assert torch.equal(iterate(hopfield(pattern), start, 5).points, pattern)
    start[0, :12] = -pattern[0, :12]
    assert torch.equal(iterate(hopfield(pattern), start, 5).points, -pattern)


def test_a_unit_without_a_field_keeps_its_value():
    f = hopfield(torch.tensor([[1.0, 1, 1], [1.0, -1, -1]]))  # unit 0 is connected to none
    expected = [[-1, 1, 1], [1, 1, 1]]
    assert f(torch.tensor([[-1.0, 1, 1], [1.0, 1, 1]])).tolist() == expected


def test_the_capacity_of_hebbs_rule_lies_near_138_patterns_in_1000_units():
    # Amit, Gutfreund and Sompolinsky: 1.6 % of the units wrong at .138, and no retrieval beyond
    assert measure_wrong_units(0.05).max() < 0.01
    assert measure_wrong_units(0.11).median() < 0.02
    assert measure_wrong_units(0.18).median() > 0.1


@pytest.mark.parametrize("gain", [0.9, 1.5, 4.0])
def test_the_gain_of_a_single_pattern_solves_the_mean_field_equation(gain):
    # m = tanh(gain m (1 - 1 / N)), which is zero unless the slope there exceeds 1
    pattern = signs(1, 50)
    units = 50
    m = 1.0
    for _ in range(300):
        m = math.tanh(gain * m * (1 - 1 / units))
    end = iterate(hopfield(pattern, gain=gain), pattern, 300).points
    torch.testing.assert_close(end, m * pattern, rtol=0, atol=1e-6)
    found = certify(hopfield(pattern, gain=gain), end + 1e-3, eps=0.1)
    assert found.attractor.all()
    # the slope of tanh(gain m (1 - 1 / N)) at the fixed point m
    expected = gain * (1 - 1 / units) * (1 - m**2)
    assert found.radius.item() == pytest.approx(expected, abs=1e-5)


def test_orthogonal_patterns_are_certified_in_both_forms():
    patterns = hadamard(64)[:4]
    for f in (hopfield(patterns), hopfield(patterns, gain=20)):
        found = certify(f, patterns)
        assert found.attractor.all()
        assert found.offset.max() < 1e-6
        assert found.radius.max() < 1e-6


def test_degree_two_is_hopfields_network():
    patterns = signs(6, 30)
    x = signs(40, 30, seed=1)
    assert torch.equal(polynomial_memory(patterns, 2)(x), hopfield(patterns)(x))


def test_a_unit_of_the_polynomial_memory_takes_the_side_of_lower_energy():
    patterns = signs(4, 11)
    x = signs(8, 11, seed=1)

    def energy(state):
        return -((state @ patterns.T) ** 5).sum(-1)

    expected = x.clone()
    for unit in range(11):
        up = x.clone()
        down = x.clone()
        up[:, unit] = 1
        down[:, unit] = -1
        expected[:, unit] = torch.where(energy(up) < energy(down), 1.0, -1.0)
    assert torch.equal(polynomial_memory(patterns, 5)(x), expected)


def test_a_higher_degree_stores_what_hebbs_rule_cannot():
    patterns = signs(60, 100)
    assert (hopfield(patterns)(patterns) == patterns).all(1).double().mean() < 0.1
    assert torch.equal(polynomial_memory(patterns, 4)(patterns), patterns)
    assert torch.equal(polynomial_memory(patterns, 4)(-patterns), -patterns)
    found = polynomial_memory(patterns.float(), 30)(patterns.float())
    assert torch.equal(found, patterns.float())


def test_the_jacobian_of_the_softmax_update_equals_its_closed_form():
    patterns = torch.randn(5, 9, dtype=WIDE)
    x = torch.randn(4, 9, dtype=WIDE)
    f = dense_associative_memory(patterns, 0.7)
    p = torch.softmax(0.7 * x @ patterns.T, 1)
    # J = beta P^T (diag(p) - p p^T) P, the derivative of P^T softmax(beta P x)
    expected = 0.7 * patterns.T @ (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ patterns
    found = vmap(jacrev(lambda row: f(row[None])[0]))(x)
    torch.testing.assert_close(found, expected)
    eigenvalues = torch.linalg.eigvalsh(expected).flip(1)  # symmetric
    for method in ("cut", "dense", "arnoldi"):
        torch.testing.assert_close(spectrum(f, x, method=method).radius, eigenvalues[:, 0])
    torch.testing.assert_close(spectrum(f, x).eigenvalues.real[:, :4], eigenvalues[:, :4])


def test_the_softmax_update_is_narrow_at_its_patterns():
    images = torch.randn(3, 1, 20, 20, dtype=WIDE)
    assert spectrum(dense_associative_memory(images, 0.01), images).eigenvalues.shape[1] <= 3


def test_a_large_beta_makes_every_pattern_an_attractor():
    patterns = torch.nn.functional.normalize(torch.randn(12, 20, generator=torch.Generator().manual_seed(0)), dim=1)
    f = dense_associative_memory(patterns, 60.0)
    found = certify(f, patterns)
    assert found.attractor.all()
    # off the diagonal of the products lies a gap of at least .2, which leaves shares of e^-12
    assert found.offset.max() < 1e-3
    assert found.radius.max() < 0.1
    recall = recall_against_noise(f, patterns, [0.0, 0.1])
    assert recall.rate[0] == 1
    assert (recall.rate - recall.input_nearest).abs().max() < 0.05


def test_a_small_beta_has_one_global_fixed_point_near_the_mean():
    # a contraction: its slope is at most beta times half the largest squared norm of a pattern
    patterns = torch.nn.functional.normalize(torch.randn(6, 15, dtype=WIDE), dim=1)
    f = dense_associative_memory(patterns, 1e-3)
    ends = iterate(f, 10 * torch.randn(50, 15, dtype=WIDE), 300).points
    assert (ends - ends[0]).norm(dim=1).max() < 1e-12
    assert (ends[0] - patterns.mean(0)).norm() < 1e-3
    found = find_attractors(f, patterns)
    assert len(found.found) == 1
    assert not certify(f, patterns).attractor.any()


def test_a_longer_pattern_hides_a_shorter_one_behind_it():
    patterns = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    found = certify(dense_associative_memory(patterns, 50.0), patterns).attractor.tolist()
    assert found == [False, False, True]


@pytest.mark.parametrize("memory", ALL)
def test_maps_work_in_both_precisions_and_shapes(memory):
    patterns = signs(3, 2, 4, 5)
    for dtype in (torch.float32, WIDE):
        f = memory(patterns.to(dtype))
        x = torch.randn(6, 2, 4, 5, dtype=dtype)
        y = f(x)
        assert (y.dtype, y.shape) == (dtype, x.shape)
        torch.testing.assert_close(y[2:3], f(x[2:3]))  # rows do not interact
        expected = (6, *patterns.shape[1:], *patterns.shape[1:])
        assert vmap(jacrev(lambda row, f=f: f(row[None])[0]))(x).shape == expected
    torch.testing.assert_close(memory(patterns.float())(x), y)  # patterns keep their digits


@pytest.mark.parametrize("memory", ALL)
def test_a_memory_does_not_change_with_the_tensor_of_its_patterns(memory):
    patterns = signs(3, 10)
    x = torch.randn(4, 10, dtype=WIDE)
    f = memory(patterns)
    before = f(x)
    patterns.zero_()
    assert torch.equal(f(x), before)


@pytest.mark.parametrize("memory", ALL)
def test_points_and_patterns_that_make_no_sense_are_refused(memory):
    f = memory(signs(3, 10))
    with pytest.raises(ValueError, match=r"points and patterns must be points of one space, got shapes \(2, 9\)"):
        f(torch.zeros(2, 9))
    with pytest.raises(NonFiniteError, match="patterns holds NaN or infinity in 1 of 2 rows"):
        memory(torch.tensor([[1.0, math.nan], [1.0, 1.0]]))
    with pytest.raises(ValueError, match=r"patterns must be a batch \(B, \*shape\), got shape \(3,\)"):
        memory(torch.ones(3))


@pytest.mark.parametrize("memory", BINARY)
def test_patterns_that_are_not_binary_are_refused(memory):
    with pytest.raises(ValueError, match=r"patterns must be -1 or 1 everywhere, got values from 0 to 1; images become"):
        memory(torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "2", True])
def test_gain_and_beta_must_be_positive(value):
    with pytest.raises(ValueError, match=r"gain must be a finite number > 0, got .*; leave it out for the sign"):
        hopfield(signs(1, 3), gain=value)
    with pytest.raises(ValueError, match=r"beta must be a finite number > 0, got"):
        dense_associative_memory(signs(1, 3), value)


@pytest.mark.parametrize("degree", [1, 0, 2.0, True])
def test_degrees_below_two_are_refused(degree):
    with pytest.raises(ValueError, match=r"degree must be a whole number >= 2, got .*; 2 is Hopfield's network"):
        polynomial_memory(signs(1, 3), degree)


def test_certificates_hold_where_a_program_flushes_denormals():
    # Jacobians of a sharp memory have entries whose products underflow: LAPACK alone did not converge there.
    patterns = torch.rand(12, 60, generator=torch.Generator().manual_seed(0))
    memory = dense_associative_memory(patterns, 60.0)
    plain = certify(memory, patterns)
    torch.set_flush_denormal(True)
    try:
        flushed = certify(memory, patterns)
    finally:
        torch.set_flush_denormal(False)
    assert plain.attractor.all()
    assert flushed.attractor.all()
    torch.testing.assert_close(flushed.radius, plain.radius, rtol=1e-9, atol=1e-100)


@pytest.mark.parametrize("size", [100, 784, 3072])
def test_high_powers_of_weak_overlaps_do_not_vanish_in_float32(size):
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 2, (20, size), generator=generator).float() * 2 - 1
    starts = 0.1 * torch.randn(8, size, generator=generator)
    memory = polynomial_memory(patterns, 30)
    agree = (memory(starts).double() == memory(starts.double())).double().mean()
    assert agree > 0.999
    assert (memory(starts).abs() == 1).double().mean() > 0.999  # units are set, not left as they were
