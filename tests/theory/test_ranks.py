"""The rank of the solution: the corollary of Theorem 1, and where it does not hold."""

import pytest
import torch
from draws import uniform

from memzoo.theory import (
    adaptive_descent,
    check_assumptions,
    minimum_norm_preimage,
    rank_counterexample,
    rank_of_examples,
    rank_of_solution,
)


def test_the_rank_is_that_of_the_preimages_not_of_the_examples():
    v = torch.tensor([0.3, 0.8, 1.1, 0.5, 0.2], dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        pair = rank_counterexample(v.to(dtype), "sigmoid")
        assert check_assumptions(pair, "sigmoid").hold
        assert (rank_of_examples(pair), rank_of_solution(pair, "sigmoid")) == (2, 1)
    examples = torch.sigmoid(torch.stack([v, 2 * v]))
    a = minimum_norm_preimage(examples, "sigmoid")
    singular = torch.linalg.svdvals(a)
    assert singular[1] < 1e-12 * singular[0]


def test_descent_finds_the_solution_of_rank_one():
    direction = torch.tensor([-1.5, 1.5, 0.5], dtype=torch.float64)
    pair = rank_counterexample(direction, "sigmoid")
    singular = torch.linalg.svdvals(adaptive_descent(pair, "sigmoid", 0.1, steps=30000))
    assert singular[1] < 1e-3 * singular[0]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_independent_examples_have_a_solution_of_the_rank_of_their_preimages(n):
    x = 0.1 + 0.8 * uniform(n, 6)
    solution = minimum_norm_preimage(x, "tanh")
    assert torch.linalg.matrix_rank(solution) == rank_of_solution(x, "tanh") == rank_of_examples(x) == n
