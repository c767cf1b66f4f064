"""Test Fisher's exact test and the area under the ROC curve against counting."""

from functools import cache
from itertools import combinations

import pytest
import torch

from memzoo.auditing.baseline import error_auc
from memzoo.auditing.result import Findings, Judged
from memzoo.auditing.significance import adjust_by_holm, fisher_exact
from memzoo.auditing.verdict import shows_leak
from memzoo.dynamics import Attractors, wilson


@pytest.mark.parametrize(("hits", "total", "other_hits", "other_total"), [(3, 4, 1, 5), (0, 3, 2, 3), (2, 2, 0, 6)])
def test_fisher_counts_every_way_to_deal_the_hits(hits, total, other_hits, other_total):
    deals = list(combinations(range(total + other_total), hits + other_hits))  # the places of the hits
    hits_in_first_group = [sum(place < total for place in deal) for deal in deals]
    as_many = sum(count >= hits for count in hits_in_first_group)
    # the one-sided test: deals with as many hits or more, of all deals
    found = fisher_exact(hits, total, other_hits, other_total)
    assert found == pytest.approx(as_many / len(deals), rel=1e-14)


def test_fisher_of_large_groups_neither_overflows_nor_vanishes():
    assert 0 <= fisher_exact(1000, 1000, 0, 1000) < 1e-300
    assert fisher_exact(500, 1000, 500, 1000) == pytest.approx(0.5, abs=0.05)


def test_fisher_refuses_counts_beyond_their_group():
    with pytest.raises(ValueError, match=r"0 <= hits <= total, got 4 of 3"):
        fisher_exact(4, 3, 0, 1)


def test_auc_is_chance_for_equal_errors_and_certain_for_separate_ones():
    same = torch.tensor([0.1, 0.2, 0.3])
    assert error_auc(same, same) == 0.5
    assert error_auc(same, same + 1) == 1
    assert error_auc(same + 1, same) == 0


def test_holm_rejects_one_test_after_another():
    # at level .05 the steps .05/4, .05/3, .05/2, .05/1 are compared in turn, and the first failure ends all
    for p_values, rejected in (
        ([0.012, 0.016, 0.024, 0.049], 4),
        ([0.012, 0.017, 0.018, 0.019], 1),
        ([0.013, 0.001, 0.3, 0.02], 3),
        ([0.013] * 4, 0),
    ):
        adjusted = adjust_by_holm(p_values)
        assert sum(value < 0.05 for value in adjusted) == rejected
        assert all(p <= value <= 1 for p, value in zip(p_values, adjusted, strict=True))
        assert adjust_by_holm(p_values[::-1]) == adjusted[::-1]
    assert adjust_by_holm([0.9, 0.8]) == [1.0, 1.0]


def judge(ever, last, attractor, copy_of=None, error=None, at=None):
    """Return the measurements of images of which nothing matters but these flags."""
    n = len(ever)
    nothing = torch.zeros(n)
    return Judged(
        images=torch.zeros(n, 1),
        eps=torch.ones(n),
        copy_of=torch.arange(n) if copy_of is None else copy_of,
        recovered=last,
        recovered_at=torch.where(ever, 0, -1) if at is None else at,
        start=torch.zeros(n, dtype=torch.long),
        reached=torch.zeros(n, 1),
        distance=nothing,
        attractor=attractor,
        offset=nothing,
        residual=nothing,
        radius=nothing,
        radius_error=nothing,
        error=nothing if error is None else error,
    )


def compare(members, controls):
    limits = Attractors((), torch.empty(0, dtype=torch.long), 0, 0, 0, 1.0)
    starts = torch.zeros(1, 1)
    return Findings(members, controls, starts, limits, (), (), 1.0, "given", "given", 0, 1, 0, "nothing", ())


def test_audits_of_networks_without_memory_raise_false_alarms_at_the_level(monkeypatch):
    # Members and controls from one distribution, in the worst case for the number of tests: independent flags.
    test = cache(fisher_exact)
    monkeypatch.setattr("memzoo.auditing.result.fisher_exact", test)
    audits, images = 2000, 100
    alarms = uncorrected = 0
    flags = torch.rand(audits, 2, 3, images, generator=torch.Generator().manual_seed(0)) < 0.5
    for of_members, of_controls in flags:
        found = compare(judge(*of_members), judge(*of_controls))
        alarms += shows_leak(found)
        counts = zip(of_members.sum(1).tolist(), of_controls.sum(1).tolist(), strict=True)
        uncorrected += min(test(one, images, other, images) for one, other in counts) < 0.05
    assert wilson(alarms, audits).low <= 0.05
    assert wilson(uncorrected, audits).low > 0.05  # what three tests at this level without correction would do


def test_near_copies_count_once_in_the_median_step_and_in_the_auc():
    copy_of = torch.tensor([0, 1, 2, 1, 1])
    none = torch.zeros(5, dtype=torch.bool)
    at = torch.tensor([1, -1, 9, 2, 4])
    error = torch.tensor([0.1, 0.3, 0.2, 0.5, 0.7])
    members = judge(at >= 0, none, none, copy_of, error, at)
    assert members.first_step.tolist() == [1, 2, 9]
    assert members.median_step == 2
    torch.testing.assert_close(members.image_error, torch.tensor([0.1, 0.5, 0.2]))
    controls = judge(none[:2], none[:2], none[:2], error=torch.tensor([0.15, 0.4]))
    assert controls.median_step is None
    assert controls.first_step.tolist() == [-1, -1]
    # of the 6 pairs, .1 is smaller than both, .2 than one
    assert compare(members, controls).error_auc == pytest.approx(3 / 6)
