import pytest
import torch

from memzoo.dynamics.orbits import group_duplicates, select_distinct
from memzoo.dynamics.orbits.duplicates import ROWS

DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])


@DTYPES
def test_equal_examples_form_a_group_in_the_order_of_their_first_member(dtype):
    examples = torch.tensor([[3.0, 1], [0.0, 1], [-0.0, 1], [3, 1], [2, 1], [0, 1]], dtype=dtype)
    found = group_duplicates(examples)
    assert found.first.tolist() == [0, 1, 4]
    assert found.group.tolist() == [0, 1, 1, 0, 2, 1]
    assert torch.equal(select_distinct(examples), examples[[0, 1, 4]])


def test_groups_equal_a_brute_force_over_several_copies_of_rows():
    examples = torch.randint(0, 3, (ROWS + 50, 1, 2, 2)).float()
    equal = (examples[:, None] == examples[None]).flatten(2).all(2)
    found = group_duplicates(examples)
    expected = equal.int().argmax(1)
    assert torch.equal(found.first[found.group], expected)
    assert torch.equal(found.first, found.first.sort().values)


def test_examples_without_duplicates_are_not_copied():
    examples = torch.randn(5, 3)
    assert select_distinct(examples) is examples
