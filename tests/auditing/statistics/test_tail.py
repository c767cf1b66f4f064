"""Test the search for single members against the distribution that it assumes, and against integration."""

import pytest
import torch

from memzoo.auditing.statistics import tail_p_values


def test_members_of_the_same_kind_stand_out_as_rarely_as_the_level_says():
    # exponential scores, the tail that is assumed; the smallest of n p-values is below a / n with probability a
    n, m, trials, level = 50, 60, 1000, 0.05
    scores = torch.distributions.Exponential(torch.tensor(0.7)).sample((trials, n + m)) + 3
    alarms = sum(bool((tail_p_values(row[:n], row[n:]) <= level / n).any()) for row in scores) / trials
    assert alarms <= level + 2 * (level * (1 - level) / trials) ** 0.5
    lighter = torch.rand(trials, n + m)
    alarms = sum(bool((tail_p_values(row[:n], row[n:]) <= level / n).any()) for row in lighter) / trials
    assert alarms <= level


def test_the_tail_is_that_of_a_scale_that_is_not_known():
    # the mean of 1 / scale over its gamma posterior: integrate exp(-s / scale) numerically
    controls = torch.tensor([-5.0, -1.0, 0.0, 0.0, 1.0, 2.5, 3.0])
    k, total = 3, 6.5
    rate = torch.linspace(1e-6, 12, 200_001, dtype=torch.float64)
    weight = rate ** (k - 1) * torch.exp(-rate * total)
    for score in (0.4, 3.0, 20.0):
        integral = (weight * torch.exp(-rate * score)).sum() / weight.sum()
        found = tail_p_values(torch.tensor([score]), controls)
        assert found.item() == pytest.approx(k / 7 * integral.item(), rel=1e-4)


def test_a_scale_does_not_matter_and_one_member_far_out_is_found():
    controls = torch.randn(200)
    members = torch.cat([torch.randn(5), torch.tensor([30.0])])
    found = tail_p_values(members, controls)
    assert (found < 1e-6).tolist() == [False] * 5 + [True]
    torch.testing.assert_close(tail_p_values(7 * members - 2, 7 * controls - 2), found, rtol=1e-4, atol=0)


@pytest.mark.parametrize("controls", [[2.0, 2.0, 2.0], [0.0, 1.0, torch.inf], [-torch.inf, -torch.inf, 0.0]])
def test_nothing_is_claimed_where_controls_have_no_scale(controls):
    assert tail_p_values(torch.tensor([9.0, torch.inf]), torch.tensor(controls)).tolist() == [1, 1]
