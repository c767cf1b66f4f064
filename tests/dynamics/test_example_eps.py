import math
import warnings

import pytest
import torch

from memzoo._checks import check_eps
from memzoo.dynamics import default_eps, example_eps, group_near_copies
from memzoo.dynamics.orbits import format_eps, resolve_eps
from memzoo.errors import InvalidArgumentError


def distances(x, y):
    return (x.flatten(1).double()[:, None] - y.flatten(1).double()).norm(dim=2)


def link(between, threshold):
    # single linkage by definition: follow links until no row is new
    groups = []
    left = set(range(len(between)))
    while left:
        members = set()
        border = {min(left)}
        while border:
            members |= border
            border = {j for i in border for j in left if between[i, j] < threshold} - members
        groups.append(sorted(members))
        left -= members
    return sorted(groups)


def draw_with_copies(n, d, dtype, scale):
    # copies at all distances, some in chains, and clusters of several
    x = torch.randn(n, d, dtype=torch.float64)
    picked = torch.randint(n, (n // 3,))
    copies = x[picked] + 10 ** (-4 * torch.rand(len(picked), 1)) * torch.randn(len(picked), d)
    again = copies[: len(copies) // 2] + 1e-3 * torch.randn(len(copies) // 2, d)
    together = torch.cat([x, copies, again]) * scale
    return together[torch.randperm(len(together))].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 3, 40])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_radii_and_groups_are_those_of_their_definition(dtype, d, scale):
    examples = draw_with_copies(30, d, dtype, scale).unique(dim=0)
    between = distances(examples, examples)
    apart = between + torch.diag(torch.full((len(examples),), math.inf))
    nearest = apart.amin(1)
    groups = link(between, 0.1 * nearest.quantile(0.5))
    expected = torch.empty(len(examples), dtype=torch.float64)
    for members in groups:
        others = [i for i in range(len(examples)) if i not in members]
        expected[members] = 0.1 * between[members][:, others].min()
    eps = example_eps(examples)
    torch.testing.assert_close(eps, expected, rtol=1e-12, atol=0)
    found = group_near_copies(examples)
    assert [(found.group == i).nonzero().flatten().tolist() for i in range(len(found.first))] == groups
    assert found.first.tolist() == [members[0] for members in groups]


@pytest.mark.parametrize("d", [1, 2, 36])
def test_balls_of_different_groups_are_disjoint_and_no_radius_is_below_the_scalar(d):
    examples = draw_with_copies(60, d, torch.float32, 1.0).unique(dim=0)
    eps = example_eps(examples)
    group = group_near_copies(examples).group
    apart = group[:, None] != group
    between = distances(examples, examples)
    assert ((eps[:, None] + eps)[apart] <= 0.2 * between[apart] * (1 + 1e-12)).all()
    assert eps.min() >= default_eps(examples) * (1 - 1e-12)
    # whoever is within the radius of an example is nearest to it, or to a near-copy of it
    direction = torch.nn.functional.normalize(torch.randn_like(examples, dtype=torch.float64), dim=1)
    points = examples.double() + 0.99 * eps[:, None] * direction
    assert torch.equal(group[distances(points, examples).argmin(1)], group)


def test_one_near_copy_does_not_shrink_the_radii_of_the_others():
    images = torch.rand(20, 1, 6, 6)
    copy = images[:1] + 1e-5 * torch.randn(1, 1, 6, 6)
    alone = example_eps(images)
    together = example_eps(torch.cat([images, copy]))
    torch.testing.assert_close(together[:20], alone, rtol=1e-4, atol=0)
    assert together[20] == together[0]
    assert group_near_copies(torch.cat([images, copy])).group.tolist() == [*range(20), 0]
    assert default_eps(torch.cat([images, copy])) < 1e-3 * alone.min()


def test_near_copies_of_near_copies_are_one_group():
    # steps of .09 median distances: the ends of the chain are farther apart than the threshold
    examples = torch.tensor([0.0, 0.09, 0.18, 0.27, *range(2, 12)])[:, None]
    found = group_near_copies(examples)
    assert found.group.tolist() == [0, 0, 0, 0, *range(1, 11)]
    assert example_eps(examples)[:5].tolist() == pytest.approx([0.1 * (2 - 0.27)] * 4 + [0.1])


def test_examples_that_all_have_a_copy_are_not_grouped():
    # the copies are the rule: their distance is the median
    images = torch.randn(10, 8)
    examples = torch.cat([images, images + 1e-4])
    assert group_near_copies(examples).group.tolist() == list(range(20))
    assert example_eps(examples).max() < 1e-3


def test_exact_duplicates_count_once():
    examples = torch.tensor([[0.0, 0], [3, 4], [-0.0, 0], [9, 12]])
    with pytest.warns(UserWarning, match="1 of 4 examples are exact duplicates of others"):
        assert example_eps(examples).tolist() == pytest.approx([0.5, 0.5, 0.5, 1.0])
    assert group_near_copies(examples).group.tolist() == [0, 1, 0, 2]
    with pytest.warns(UserWarning, match="exact duplicates"):
        assert example_eps(torch.tensor([[3.0, 4]] * 3)).tolist() == pytest.approx([0.25] * 3)
    assert group_near_copies(torch.ones(3, 1)).group.tolist() == [0, 0, 0]


def test_a_single_example_and_a_pair_have_the_scalar_radius():
    single = torch.tensor([[3.0, 4]])
    pair = torch.tensor([[0.0, 0], [3, 4]])
    assert example_eps(single).tolist() == [default_eps(single)]
    assert example_eps(pair).tolist() == [default_eps(pair)] * 2
    with pytest.raises(InvalidArgumentError, match="single example that is zero"):
        example_eps(torch.zeros(1, 3))


def test_equidistant_examples_have_the_scalar_radius_to_the_digit():
    for d in (1, 2, 7, 64, 784):
        examples = torch.cat([torch.zeros(1, d), torch.eye(d)])
        assert example_eps(examples).min().item() == default_eps(examples)


def test_radii_do_not_depend_on_order_blocks_or_shape(monkeypatch):
    from memzoo.dynamics.orbits import distance_bounds

    examples = draw_with_copies(40, 12, torch.float32, 1.0).unique(dim=0)
    expected = example_eps(examples)
    order = torch.randperm(len(examples))
    assert torch.equal(example_eps(examples[order]), expected[order])
    assert torch.equal(example_eps(examples.reshape(-1, 3, 2, 2)), expected)
    group = group_near_copies(examples).group
    monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", 200)
    assert torch.equal(example_eps(examples), expected)
    assert torch.equal(group_near_copies(examples).group, group)


def test_radii_scale_with_the_examples():
    examples = draw_with_copies(30, 5, torch.float64, 1.0)
    for scale in (2.0**-40, 2.0**40, 2.0**-400):
        assert torch.equal(example_eps(scale * examples), scale * example_eps(examples))


def test_distances_that_float32_products_cannot_order_are_exact():
    # all examples are far from the origin and close to each other beside one that is far away
    examples = 100 + torch.cat([1e-3 * torch.rand(30, 50), torch.full((1, 50), 1e3)])
    apart = distances(examples, examples) + torch.diag(torch.full((31,), math.inf))
    torch.testing.assert_close(example_eps(examples), 0.1 * apart.amin(1), rtol=1e-12, atol=0)


def test_radii_are_resolved_from_nothing_a_number_or_a_vector():
    examples = torch.tensor([[0.0], [1.0], [5.0]])
    assert torch.equal(resolve_eps(None, examples), example_eps(examples))
    for eps in (0.3, torch.tensor(0.3, dtype=torch.float64)):
        assert resolve_eps(eps, examples).tolist() == [0.3] * 3
    given = torch.tensor([1.0, 2.0, 3.0])
    found = resolve_eps(given, examples)
    assert found.dtype == torch.float64
    found[0] = 7
    assert given[0] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # exact duplicates are warned of only where a radius is derived
        assert resolve_eps(1, torch.zeros(2, 3)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "eps", [0, -1.0, math.nan, math.inf, "big", torch.tensor([1.0, 0.0]), torch.tensor([1, 2]), torch.ones(2, 1)]
)
def test_other_radii_are_refused(eps):
    with pytest.raises(InvalidArgumentError, match=r"(?s)eps must be a finite number > 0, got .* one for each example"):
        check_eps(eps)


def test_another_number_of_radii_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"one for each example, got 2 for 3 examples; .*example_eps"):
        resolve_eps(torch.ones(2), torch.eye(3))


def test_radii_are_shown_as_least_median_and_most():
    assert format_eps(torch.tensor([4.0, 1.0, 2.0])) == "1 / 2 / 4"
    assert format_eps(torch.tensor([0.25, 0.25])) == format_eps(0.25) == "0.25"
