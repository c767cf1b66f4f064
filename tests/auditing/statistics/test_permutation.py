"""Test permutation tests against counting, against exact tests, and under the null hypothesis."""

from itertools import combinations

import pytest
import torch

from memzoo.auditing.significance import fisher_exact
from memzoo.auditing.statistics import compare_samples, permutation_test, rank
from memzoo.auditing.statistics.permutation import compare_with_draws

LEVELS = (0.01, 0.05, 0.1)


def first(n, total):
    return torch.arange(total) < n


def test_a_test_is_fishers_where_the_values_are_flags():
    flags = torch.tensor([[1.0] * 6 + [0.0] * 4 + [1.0] * 2 + [0.0] * 8])
    exact = fisher_exact(6, 10, 2, 10)
    found = permutation_test(flags, first(10, 20))
    assert found.p_value == pytest.approx(exact, abs=4 * (exact / 9999) ** 0.5)
    assert found.p_value == found.adjusted.item() == found.unadjusted.item()


def test_adjusted_values_are_those_of_all_choices_of_the_members():
    values = torch.randint(0, 5, (3, 8)).double()
    choices = torch.zeros(56, 8, dtype=torch.float64)
    for row, chosen in enumerate(combinations(range(8), 3)):
        choices[row, list(chosen)] = 1
    sums = values @ choices.T  # the first choice is the true one
    as_large = sums[:, None] >= sums[:, :, None]
    p_values = as_large.sum(2)
    exact = (p_values.amin(0) <= p_values[:, :1]).sum(1)
    found = compare_with_draws(sums)
    torch.testing.assert_close(found.unadjusted, p_values[:, 0] / 56.0, check_dtype=False)
    torch.testing.assert_close(found.adjusted, exact / 56.0, check_dtype=False)
    assert found.p_value == found.adjusted.min()
    # drawn members are these choices, each as often as any other
    drawn = permutation_test(values[:1], first(3, 8))
    assert drawn.p_value == pytest.approx(p_values[0, 0].item() / 56, abs=0.02)


def test_one_statistic_many_times_costs_nothing():
    values = rank(torch.randn(30)).expand(20, 30)
    found = permutation_test(values, first(15, 30))
    assert found.p_value == found.unadjusted[0] == found.adjusted[7]
    # a constant says nothing, and independent statistics cost what Bonferroni takes, at most
    constant = permutation_test(torch.cat([values[:1], torch.ones(1, 30)]), first(15, 30))
    assert constant.unadjusted[1] == constant.adjusted[1] == 1
    assert constant.adjusted[0] == found.unadjusted[0]


def test_a_separating_score_has_the_smallest_value_that_the_draws_allow():
    values = torch.arange(60.0)[None]
    found = permutation_test(values, torch.arange(60) >= 30, permutations=999)
    assert found.p_value == found.floor == 0.001


@pytest.mark.parametrize("dependent", [True, False])
def test_false_alarms_are_as_rare_as_the_level_says(dependent):
    # scores of images computed once, and 1000 random splits of them into members and controls
    images, splits, permutations = 30, 1000, 199
    scores = torch.randn(6, images)
    if dependent:
        scores = scores[:1] + 0.1 * scores
    values = torch.stack([rank(row.round(decimals=1)) for row in scores])
    p_values = []
    for split in range(splits):
        is_member = torch.zeros(images, dtype=torch.bool)
        is_member[torch.randperm(images)[: images // 2]] = True
        p_values.append(permutation_test(values, is_member, permutations, seed=split).p_value)
    for level in LEVELS:
        alarms = sum(p_value <= level for p_value in p_values) / splits
        assert alarms <= level + 2 * (level * (1 - level) / splits) ** 0.5


def test_tests_refuse_what_they_cannot_compare():
    for is_member in (first(0, 4), first(4, 4)):
        with pytest.raises(ValueError, match="a test compares members with controls"):
            permutation_test(torch.ones(1, 4), is_member)
    with pytest.raises(ValueError, match="pass ranks, which are finite"):
        permutation_test(torch.full((1, 4), torch.inf), first(2, 4))
    with pytest.raises(ValueError, match="one membership an image"):
        permutation_test(torch.ones(1, 3), first(2, 4))


def test_energy_distances_are_those_of_the_definition():
    x, y = torch.randn(7, 3), torch.randn(5, 3) + 1
    across = torch.cdist(x, y).mean()
    energy = 2 * across - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    found = compare_samples(x, y)
    assert found.distance == pytest.approx((energy / (2 * across)).item(), rel=1e-5)
    shape = (3, 1)
    assert compare_samples(x.reshape(7, *shape), y.reshape(5, *shape)) == found


def test_samples_of_one_distribution_are_told_apart_as_rarely_as_the_level_says():
    trials = 300
    p_values = [compare_samples(torch.randn(12, 4), torch.randn(15, 4), 99, seed).p_value for seed in range(trials)]
    for level in LEVELS:
        alarms = sum(p_value <= level for p_value in p_values) / trials
        assert alarms <= level + 3 * (level * (1 - level) / trials) ** 0.5
    assert compare_samples(torch.randn(40, 4), 2 * torch.randn(40, 4)).p_value < 0.01
    assert compare_samples(torch.zeros(5, 2), torch.zeros(6, 2)) == (0.0, 1.0, 0.5)


def test_a_blind_guess_leaves_out_the_image_itself():
    x, y = torch.randn(6, 3), torch.randn(5, 3) + 1
    both = torch.cat([x, y])
    scores = []
    for i, point in enumerate(both):
        others = [row for row in range(11) if row != i]
        gap = (both - point).norm(dim=1)
        controls = gap[[row for row in others if row >= 6]].mean()
        scores.append(controls - gap[[row for row in others if row < 6]].mean())
    scores = torch.stack(scores)
    wanted = (scores[:6, None] > scores[6:]).double().mean().item()
    assert compare_samples(x, y, 9).blind_auc == pytest.approx(wanted)
    assert compare_samples(x[:1], y, 9).blind_auc == 0.5
