import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from memzoo.dynamics import capacity_curve, example_eps, recall_against_noise
from memzoo.errors import NonFiniteError, NotASelfMapError


def soft_lookup(examples):
    """Build softmax attention to the examples, which nearly looks up the one of the largest product."""
    return lambda x: (20 * x @ examples.T).softmax(1) @ examples


def hopfield(patterns):
    """Build a network by Hebb's rule without self-coupling, all units at once, with a steep graded response."""
    weight = patterns.T @ patterns / patterns.shape[1]
    weight -= weight.diag().diag()
    return lambda x: (10 * x @ weight).tanh()


def mean(examples):
    return lambda x: examples.mean(0).expand_as(x)


def span(examples):
    basis = torch.linalg.qr(examples.T).Q
    return lambda x: x @ basis @ basis.T


def test_a_map_that_looks_up_its_examples_stores_them_all():
    examples = torch.nn.functional.normalize(torch.randn(12, 20, dtype=torch.float64), dim=1)
    found = capacity_curve(soft_lookup, examples, [1, 3, 12], level=0.02)
    assert found.counts.tolist() == [1, 3, 12]
    assert found.attractors.tolist() == found.recalled.tolist() == [1, 1, 1]
    assert found.capacity() == found.capacity(1.0, by="recalled") == 12


def test_a_hopfield_network_stores_patterns_up_to_its_known_load():
    # random patterns are retrieved with few errors up to n / N = 0.138 for large N (Amit, Gutfreund, Sompolinsky 1985)
    units = 400
    patterns = torch.randint(0, 2, (80, units), generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    few = 2 * (0.05 * units) ** 0.5  # L2 distance of one unit in twenty
    counts = [16, 32, 48, 64, 80]
    found = capacity_curve(hopfield, patterns, counts, level=0.1, draws=1, steps=100, eps=few)
    for by in ("attractors", "recalled"):
        assert 0.08 <= found.capacity(by=by) / units < 0.16
        assert getattr(found, by)[0] == 1
        assert getattr(found, by)[-1] < 0.2


def test_a_constant_map_stores_one_example():
    examples = torch.randn(5, 4, dtype=torch.float64)
    found = capacity_curve(mean, examples, [1, 2, 5], level=0.0)
    assert found.attractors.tolist() == found.recalled.tolist() == [1, 0, 0]
    assert found.capacity() == found.capacity(by="recalled") == 1


def test_a_projection_returns_all_examples_and_attracts_to_none():
    examples = torch.randn(5, 9, dtype=torch.float64)
    found = capacity_curve(span, examples, [2, 5], level=0.0)
    assert found.recalled.tolist() == [1, 1]
    assert found.attractors.tolist() == [0, 0]
    assert found.capacity() == 0
    assert found.capacity(by="recalled") == 5


def test_one_eps_and_one_noise_serve_all_counts():
    examples = torch.randn(8, 3)
    found = capacity_curve(lambda x: lambda y: 1 * y, examples, [2, 8], level=0.3, draws=40, seed=3, eps=0.5)
    whole = recall_against_noise(lambda y: 1 * y, examples, [0.3], draws=40, seed=3, eps=0.5)
    expected = [whole.per_example[0, :n].mean().item() for n in (2, 8)]
    assert found.recalled.tolist() == pytest.approx(expected)
    assert 0 < expected[0] < 1
    assert (found.level, found.draws, found.eps.tolist()) == (0.3, 40, [0.5] * 8)
    derived = capacity_curve(mean, examples, [1, 2], level=0.0)
    assert torch.equal(derived.eps, example_eps(examples))
    assert (derived.eps[:2] <= example_eps(examples[:2])).all()


def test_build_may_train_and_may_use_up_its_examples():
    examples = torch.randn(4, 2)
    before = examples.clone()
    seen = []

    def build(x):
        model = nn.Linear(2, 2)
        model(x).square().mean().backward()
        seen.append((len(x), model.weight.grad is not None))
        x.zero_()
        return model

    capacity_curve(build, examples, [1, 3], level=0.0)
    assert seen == [(1, True), (3, True)]
    assert torch.equal(examples, before)


def test_capacity_is_reached_before_the_first_fall():
    counts = [1, 2, 3, 4]
    found = capacity_curve(mean, torch.randn(4, 2), counts, level=0.0)
    attractors = torch.tensor([1, 0.9, 0.5, 0.95], dtype=torch.float64)
    found = replace(found, attractors=attractors)
    expected = [1, 2, 2, 4]
    assert [found.capacity(share) for share in (1.0, 0.9, 0.6, 0.5)] == expected
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 90"):
        found.capacity(90)
    with pytest.raises(ValueError, match=r"by must be 'attractors' or 'recalled', got 'eps'"):
        found.capacity(by="eps")


def never(examples):
    raise AssertionError("nothing may be trained before the arguments are checked")


@pytest.mark.parametrize("counts", [[], [0, 1], [2, 1], [2, 2], [1.5], [True]])
def test_counts_that_do_not_increase_from_one_are_refused(counts):
    with pytest.raises(ValueError, match=r"counts must be whole numbers >= 1 in increasing order, got \["):
        capacity_curve(never, torch.rand(4, 2), counts, level=0.1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": [2, 5]}, r"counts go up to 5, but there are 4 examples; pass more or lower the counts"),
        ({"level": -0.1}, r"level must be finite numbers >= 0 in increasing order, got \[-0\.1\]"),
        ({"draws": 0}, r"draws must be a whole number >= 1, got 0"),
        ({"steps": -1}, r"steps must be a whole number >= 0, got -1"),
        ({"eps": -1}, r"eps must be a finite number > 0, got -1"),
    ],
)
def test_arguments_are_refused_before_anything_is_built(changed, message):
    with pytest.raises(ValueError, match=message):
        capacity_curve(never, torch.rand(4, 2), **{"counts": [1], "level": 0.1, **changed})


def test_what_build_returns_is_checked():
    examples = torch.rand(4, 2)
    with pytest.raises(TypeError, match=r"build must return a map from a batch to a batch, got NoneType"):
        capacity_curve(lambda x: None, examples, [2], level=0.1)
    with pytest.raises(NotASelfMapError, match=r"input \(2, 2\) became \(2, 3\)"):
        capacity_curve(lambda x: nn.Linear(2, 3), examples, [2], level=0.1)
    with pytest.raises(NonFiniteError, match=r"examples holds NaN or infinity in 4 of 4 rows"):
        capacity_curve(never, torch.full((4, 2), math.nan), [2], level=0.1)
