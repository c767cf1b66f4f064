"""The digest of a function: what it notices, and what it must not mind."""

import pytest
import torch
from torch import nn

from memzoo.errors import FingerprintError
from memzoo.zoo.entry import Fingerprint
from memzoo.zoo.loading.fingerprint import check_fingerprint, make_probe, take_fingerprint


@pytest.mark.parametrize(("shape", "rows"), [((1, 4, 4), 2), ((8,), 2), ((4,), 2), ((3,), 3), ((1,), 8)])
def test_the_probe_is_the_multiples_of_the_golden_ratio(shape, rows):
    # multiples of the golden ratio modulo 1 fill the interval evenly
    golden = (5**0.5 - 1) / 2
    found = make_probe(shape, seed=3)
    assert found.shape == (rows, *shape)
    assert found.dtype == torch.float32
    expected = [((number + 10007 * 3) * golden) % 1 for number in range(1, found.numel() + 1)]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_the_digest_is_the_means_of_eight_equal_parts():
    taken = take_fingerprint(lambda x: torch.arange(16.0).reshape(2, 8), (8,), seed=5)
    assert taken.seed == 5
    assert taken.values == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_difference_is_relative_to_the_size_of_the_output(size):
    wanted = take_fingerprint(lambda x: size * torch.ones_like(x), (8,))
    inside = 1 + 0.9 * wanted.tolerance
    outside = 1 + 1.1 * wanted.tolerance
    check_fingerprint(lambda x: size * inside * torch.ones_like(x).double(), (8,), wanted)
    for factor in (outside, 2 - outside):
        with pytest.raises(FingerprintError, match="computes another function than the published one"):
            check_fingerprint(lambda x, factor=factor: size * factor * torch.ones_like(x).double(), (8,), wanted)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", [0, 15, slice(None)])
def test_a_network_that_is_not_finite_has_no_fingerprint(value, where):
    wanted = take_fingerprint(nn.Identity(), (8,))

    def broken(x):
        y = x.clone().flatten()
        y[where] = value
        return y.reshape(x.shape)

    with pytest.raises(FingerprintError, match="computes another function"):
        check_fingerprint(broken, (8,), wanted)


def test_the_probe_is_the_one_that_the_fingerprint_names():
    taken = [take_fingerprint(nn.Identity(), (8,), seed=seed) for seed in (0, 1)]
    assert taken[0].values != taken[1].values
    for wanted in taken:
        check_fingerprint(nn.Identity(), (8,), wanted)
    with pytest.raises(FingerprintError, match="computes another function"):
        check_fingerprint(nn.Identity(), (8,), Fingerprint(seed=1, values=taken[0].values))


def test_an_output_of_zeros_has_a_fingerprint():
    wanted = take_fingerprint(torch.zeros_like, (8,))
    check_fingerprint(torch.zeros_like, (8,), wanted)
    with pytest.raises(FingerprintError, match="computes another function"):
        check_fingerprint(lambda x: torch.full_like(x, 1e-9), (8,), wanted)
