"""Images that are drawn from a distribution."""

import pytest
import torch
from torch.testing import assert_close

from memzoo.data import DISTRIBUTIONS, drawn


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_drawn_images_depend_on_their_seed_alone(distribution):
    some = drawn(distribution, [3, 0], 2, (1, 3, 3))
    assert some.images.shape == (2, 2, 1, 3, 3)
    assert some.images.dtype == torch.float32
    expected = drawn(distribution, range(5), 2, (1, 3, 3)).images[:, 0]
    assert_close(some.images[:, 1], expected)
    assert some.digest == drawn(distribution, [3, 0], 2, (1, 3, 3)).digest
    assert some.digest != drawn(distribution, [3, 0], 2, (1, 3, 3), split="test").digest
    assert torch.equal(some.pixels(), some.images)


def test_distributions_of_drawn_images():
    normal, sphere, uniform = (drawn(name, range(100), 3, (1, 10, 10)).images for name in DISTRIBUTIONS)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    found = sphere.flatten(2).norm(dim=2)
    assert_close(found, torch.ones(3, 100))
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02


def test_unknown_distribution():
    with pytest.raises(ValueError, match=r"drawn from normal, sphere, uniform, not from 'cauchy'"):
        drawn("cauchy", [0], 1, (1, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("normal", [0], 1, (2,), "valid"), "split must be 'train' or 'test', got 'valid'"),
        (("normal", [], 1, (2,), "train"), "at least one seed and one image a seed, got 0 and 1"),
        (("normal", [0], 0, (2,), "train"), "at least one seed and one image a seed, got 1 and 0"),
    ],
)
def test_nothing_to_draw(arguments, problem):
    *most, split = arguments
    with pytest.raises(ValueError, match=problem):
        drawn(*most, split=split)
