"""Parameters and depth by counting: Supplement F, Tables 1 and 2."""

from itertools import pairwise

import pytest
from torch import nn

from memzoo.theory import (
    heuristic_depth,
    parameter_count,
)


def test_heuristic_depth_is_the_papers_and_matches_a_full_matrix():
    expected = [2, 9, 29, 70, 144, 267]
    assert [heuristic_depth(side) for side in range(2, 8)] == expected
    for side in range(1, 30):
        depth = heuristic_depth(side)
        # a full matrix has side^4 entries, a layer has 9 parameters
        assert parameter_count(depth) >= side**4 > parameter_count(depth) - 9
    assert heuristic_depth(10**5) == -(-(10**20) // 9)  # in floating point the last digits would be lost
    with pytest.raises(ValueError, match="side and kernel must be at least 1, got 0 and 3"):
        heuristic_depth(0)


@pytest.mark.parametrize(("layers", "filters"), [(1, 4), (2, 1), (3, 16), (5, 16)])
def test_parameters_are_those_of_the_network(layers, filters):
    sizes = [1, *[filters] * (layers - 1), 1]
    net = nn.Sequential(*[nn.Conv2d(i, o, 3, bias=False) for i, o in pairwise(sizes)])
    expected = sum(p.numel() for p in net.parameters())
    assert parameter_count(layers, filters) == expected


def test_tables_recounted():
    table_1 = {3: (27, 2592, 149760), 5: (45, 7200, 444672), 8: (72, 14112, 887040)}  # 3 is printed as 2
    for layers, counts in table_1.items():
        assert tuple(parameter_count(layers, filters) for filters in (1, 16, 128)) == counts
    assert parameter_count(2) == 18
    printed = {3: 27, 9: 81, 29: 261, 70: 630, 144: 1296, 267: 2403, 10: 90, 200: 1800}  # Table 2, one filter
    assert {layers: parameter_count(layers) for layers in printed} == printed
    assert parameter_count(350) == 3150  # printed 3105
    with pytest.raises(ValueError, match="all sizes must be at least 1"):
        parameter_count(0)
