"""The inputs in batches of all forms, and points of their kind."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from memzoo.modules import batch_of_first, count_loaders, draw_in_domain, input_of, matching_noise


class Labelled(NamedTuple):
    label: int
    image: torch.Tensor


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Record:
    mask: object
    x: torch.Tensor


@dataclass
class Nameless:
    mask: torch.Tensor


def test_the_input_of_a_batch_is_found():
    x = torch.rand(2)
    y = torch.rand(2)
    for batch in (
        x,
        (x, 1),
        [x],
        [[x, 2], 3],
        {"label": 1, "image": x},
        {"x": (x, 1)},
        {"pixel_values": x},
        Labelled(1, x),
        Pair(x, y),
        Record(None, x),
        (Record(y, {"img": x}), 3),
    ):
        assert input_of(batch) is x
    for batch, message in (
        (torch.ones(2).long(), r"samples are torch.int64 tensors; .* pass examples="),
        (torch.ones(2).to_sparse(), r"pass examples="),
        (torch.tensor(1.0), r"pass examples="),
        ({"label": x}, r"parts named \['label'\], none of \('image',"),
        (Nameless(x), r"parts named \['mask'\]"),
        ((), "samples are tuple, not tensors"),
        ("text", "samples are str, not tensors"),
        (None, "samples are NoneType, not tensors"),
    ):
        with pytest.raises(TypeError, match=message):
            input_of(batch)


def test_of_several_loaders_the_first_one_counts():
    loader = object()
    x, y = torch.rand(2), torch.rand(2)
    for loaders, batch, count in (
        (loader, x, 1),
        ([loader], [x], 1),
        ({"clean": loader, "noisy": loader}, {"clean": x, "noisy": y}, 2),
        ([{"a": loader, "b": (loader, loader)}, loader], [{"a": x, "b": (y, y)}, y], 4),
    ):
        assert batch_of_first(batch, loaders) is x
        assert count_loaders(loaders) == count


def drawn(examples, count=400, seed=0):
    return draw_in_domain(examples, count, torch.Generator().manual_seed(seed))


def test_points_of_the_domain_have_the_values_of_each_coordinate():
    counts = torch.poisson(torch.full((20, 3, 4), 2.0))
    points = drawn(counts)
    assert points.shape == (400, 3, 4)
    for i in range(3):
        for j in range(4):
            assert set(points[:, i, j].tolist()) <= set(counts[:, i, j].tolist())
    # independent from one coordinate to the next, with the frequencies of the examples
    torch.testing.assert_close(points.mean(0), counts.mean(0), atol=5 * 1.5 / 20, rtol=0)
    assert torch.equal(points, drawn(counts))
    assert not torch.equal(points, drawn(counts, seed=1))
    assert drawn(torch.rand(4, 2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    "examples",
    [
        torch.tensor([[0.2], [0.7]]),  # each value is an example
        torch.tensor([[0.2, 0.9, 0.5]]),  # one example
        torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]),
        torch.tensor([[0.3, 0.3]]),
        torch.tensor([[0.0, 0.0]]),
    ],
)
def test_no_point_of_the_domain_is_an_example(examples):
    points = drawn(examples)
    assert (torch.cdist(points.double(), examples.double()).amin(1) > 0).all()
    if examples.unique().numel() > 1:
        assert points.min() >= examples.min()
        assert points.max() <= examples.max()


def test_whole_numbers_stay_whole():
    points = drawn(torch.tensor([[0.0], [7.0]]))
    assert set(points.flatten().tolist()) == {1, 2, 3, 4, 5, 6} | (set(points.flatten().tolist()) & {0, 7})
    assert torch.equal(points, points.round())


def test_noise_has_the_mean_and_the_variance_of_the_examples():
    examples = 3 + 2 * torch.rand(50, 4, dtype=torch.float64)
    noise = matching_noise(examples, 20000, torch.Generator().manual_seed(0))
    assert noise.shape == (20000, 4)
    assert noise.dtype == torch.float64
    expected = examples.mean().item()
    assert noise.mean().item() == pytest.approx(expected, abs=0.02)
    expected = examples.std(correction=0).item()
    assert noise.std().item() == pytest.approx(expected, rel=0.02)
    constant = matching_noise(torch.full((1, 1), 5.0), 3, torch.Generator())
    assert constant.flatten().tolist() == [5, 5, 5]
