"""Test ROC curves and their intervals against closed forms, counting, and simulation."""

from math import comb
from statistics import NormalDist

import pytest
import torch

from memzoo.auditing.statistics import binomial_tail, clopper_pearson, measure_roc, rank
from memzoo.auditing.statistics.roc import area_under_roc


@pytest.mark.parametrize(("least", "trials", "p"), [(0, 3, 0.2), (2, 5, 0.3), (5, 5, 0.9), (4, 3, 0.5), (1, 2, 0.0)])
def test_tails_are_sums_of_the_binomial_formula(least, trials, p):
    wanted = sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(least, trials + 1))
    assert binomial_tail(least, trials, p) == pytest.approx(wanted, abs=1e-13)


def test_exact_intervals_of_none_and_of_all():
    # p^n = alpha / 2 at the lower end where all succeed; mirrored where none does
    for n in (1, 10, 1000):
        assert clopper_pearson(n, n)[1:] == pytest.approx((0.025 ** (1 / n), 1.0))
        assert clopper_pearson(0, n)[1:] == pytest.approx((0.0, 1 - 0.025 ** (1 / n)))
    one, other = clopper_pearson(3, 11, 0.9), clopper_pearson(8, 11, 0.9)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))
    # a polynomial of degree 3: 1 - (1 - p)^3 - 3 p (1 - p)^2 = 0.025 where two of three succeed
    low = clopper_pearson(2, 3).low
    assert 3 * low**2 - 2 * low**3 == pytest.approx(0.025)


@pytest.mark.parametrize("share", [0.003, 0.2, 0.5, 0.97])
def test_exact_intervals_hold_every_share_with_their_confidence(share):
    n = 40
    held = 0.0
    for k in range(n + 1):
        found = clopper_pearson(k, n)
        held += comb(n, k) * share**k * (1 - share) ** (n - k) * (found.low <= share <= found.high)
    assert held >= 0.95


@pytest.mark.parametrize(("count", "total", "confidence"), [(3, 2, 0.95), (0, 0, 0.95), (1, 2, 1.0)])
def test_intervals_refuse_what_is_no_share(count, total, confidence):
    with pytest.raises(ValueError, match=r"a share needs 0 <= count <= total|confidence must lie between"):
        clopper_pearson(count, total, confidence)


def test_equal_scores_share_their_rank_and_count_one_half():
    assert rank(torch.tensor([3.0, -torch.inf, 3.0, torch.inf])).tolist() == [2.5, 1, 2.5, 4]
    scores = torch.randint(0, 4, (9,)).float()
    others = torch.randint(0, 4, (7,)).float()
    pairs = (scores[:, None] > others).double() + (scores[:, None] == others).double() / 2
    assert area_under_roc(scores, others) == pytest.approx(pairs.mean().item(), abs=1e-12)


def test_the_curve_is_that_of_every_threshold():
    members = torch.tensor([5.0, 3.0, 3.0, 1.0])
    controls = torch.tensor([4.0, 3.0, 0.0])
    roc = measure_roc(members, controls)
    assert roc.fpr.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert roc.tpr.tolist() == pytest.approx([0, 1 / 4, 1 / 4, 3 / 4, 1, 1])
    # the area under the straight lines between the points is that of the pairs
    assert torch.trapezoid(roc.tpr, roc.fpr).item() == pytest.approx(roc.auc.estimate)


def test_the_interval_of_the_area_where_the_score_separates_all():
    n, m = 12, 30
    roc = measure_roc(torch.ones(n) + torch.rand(n), torch.rand(m))
    assert roc.auc.estimate == roc.auc.high == 1
    low = roc.auc.low
    k = (n + m) / 2 - 1
    variance = low * (1 - low) / (n * m) * (1 + k * (1 - low) / (2 - low) + k * low / (1 + low))
    assert (1 - low) == pytest.approx(NormalDist().inv_cdf(0.975) * variance**0.5)
    mirrored = measure_roc(-torch.ones(m) - torch.rand(m), torch.rand(n) - 1).auc
    assert (mirrored.estimate, mirrored.low) == (0, 0)
    assert mirrored.high == pytest.approx(1 - low)


@pytest.mark.parametrize(("shift", "n", "m"), [(0.0, 40, 40), (1.0, 30, 60), (2.5, 25, 25)])
def test_the_interval_holds_the_area_of_normal_scores(shift, n, m):
    area = NormalDist().cdf(shift / 2**0.5)
    held = 0
    trials = 400
    for _ in range(trials):
        auc = measure_roc(torch.randn(n) + shift, torch.randn(m)).auc
        held += auc.low <= area <= auc.high
    assert held / trials > 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def test_the_start_of_the_curve_needs_enough_controls():
    members = torch.tensor([10.0, 9.5, 8.0, 0.0])
    few = measure_roc(members, torch.arange(99.0) / 10)
    assert [str(point) for point in few.points] == ["not estimable from 99 controls"] * 2
    assert [point.needed for point in few.points] == [100, 1000]
    # of 100 controls one may be above: the threshold is the second one, 9.8; of 1000 one as well
    enough = measure_roc(members, torch.arange(100.0) / 10)
    assert enough.points[0].tpr == clopper_pearson(1, 4)
    assert enough.points[1].tpr is None
    many = measure_roc(members, torch.cat([torch.tensor([99.0, 9.0]), torch.zeros(998)]))
    assert many.points[1].tpr == clopper_pearson(2, 4)
    assert str(many.points[1]) == "0.5 (0.0676 to 0.932)"


def test_a_member_that_equals_the_threshold_is_not_recognised():
    point = measure_roc(torch.zeros(3), torch.zeros(100)).points[0]
    assert point.tpr == clopper_pearson(0, 3)


def test_curves_refuse_groups_without_scores():
    with pytest.raises(ValueError, match="scores of controls must be one score for each image, got shape"):
        measure_roc(torch.ones(3), torch.ones(0))
    with pytest.raises(ValueError, match="1 of 2 scores of members are NaN"):
        measure_roc(torch.tensor([1.0, torch.nan]), torch.ones(3))
