import math

import pytest
import torch

from memzoo.dynamics import close_pairs, default_eps, nearest
from memzoo.dynamics import distance as module


def brute_force(points, examples, eps):
    gaps = points[:, None].double() - examples[None].double()
    return {tuple(pair) for pair in (gaps.flatten(2).norm(dim=2) < eps).nonzero().tolist()}


@pytest.mark.parametrize("dim", [784, 3072])
@pytest.mark.parametrize("eps", [1e-3, 1e-2, 1e-1])
def test_pairs_equal_a_float64_brute_force_at_every_eps(dim, eps):
    # points at distances around eps from their example: what the matrix-product formula cannot resolve in float32
    examples = torch.rand(20, dim)
    direction = torch.nn.functional.normalize(torch.randn(200, dim), dim=1)
    factor = torch.linspace(0.9, 1.1, 200)[:, None]
    points = examples[torch.arange(200) % 20] + eps * factor * direction
    rows, columns = close_pairs(points, examples, eps)
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found == brute_force(points, examples, eps)
    assert 50 < len(found) < 150


def test_a_tie_is_decided_by_the_last_bit_of_a_float64():
    points, examples = torch.rand(40, 300), torch.rand(40, 300)
    for point, example in zip(points, examples, strict=True):
        eps = (point.double() - example.double()).norm().item()
        assert len(close_pairs(point[None], example[None], eps)[0]) == 0
        assert len(close_pairs(point[None], example[None], math.nextafter(eps, math.inf))[0]) == 1


def test_pairs_in_small_blocks(monkeypatch):
    points, examples = torch.randn(30, 3), torch.randn(7, 3)
    whole = close_pairs(points, examples, 1.0)
    monkeypatch.setattr(module, "BLOCK", 5)
    for one, other in zip(whole, close_pairs(points, examples, 1.0), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("value", "eps", "dtype"), [(1e-25, 1e-24, torch.float32), (1e20, 1.0, torch.float32), (-30.0, 1.0, torch.float16)]
)
def test_squares_that_leave_the_number_range(value, eps, dtype):
    points = torch.full((2, 784), value, dtype=dtype)
    points[1] = -value
    assert close_pairs(points, points, eps)[0].tolist() == ([0, 0, 1, 1] if eps > 28 * 2 * abs(value) else [0, 1])


def test_pairs_far_from_the_origin():
    points = torch.tensor([[1e4, 1e4], [1e4 + 1, 1e4]])
    assert close_pairs(points, points, 0.5)[0].tolist() == [0, 1]


def test_nearest_and_second():
    found = nearest(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]]))
    assert (found.index.item(), found.distance.item(), found.second.item()) == pytest.approx((1, 0.1, 0.9), abs=1e-6)
    assert nearest(torch.zeros(1, 2), torch.ones(1, 2)).second.item() == torch.inf


def test_default_eps():
    assert default_eps(torch.tensor([[0.0, 0], [3, 4], [100, 0]])) == pytest.approx(0.5)
    assert default_eps(torch.tensor([[3.0, 4]])) == pytest.approx(0.25)


def test_default_eps_counts_duplicates_once_and_says_so():
    with pytest.warns(UserWarning, match=r"1 of 3 examples are exact duplicates"):
        assert default_eps(torch.tensor([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(0.5)


def test_default_eps_of_zero():
    with pytest.raises(ValueError, match=r"single example that is zero everywhere; pass eps="):
        default_eps(torch.zeros(1, 3))
