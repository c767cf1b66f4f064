"""Test Fisher's exact test and the area under the ROC curve against counting."""

from itertools import combinations

import pytest
import torch

from memzoo.auditing.baseline import error_auc
from memzoo.auditing.significance import fisher_exact


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
