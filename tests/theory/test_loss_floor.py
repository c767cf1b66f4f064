import pytest
import torch

import memzoo
from memzoo.theory import loss_floor


@pytest.fixture
def examples():
    return torch.randn(12, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_no_affine_map_of_that_rank_does_better_and_one_reaches_it(examples):
    x = examples.flatten(1)
    centre = x.mean(0)
    for width in (1, 4, 8):
        floor = loss_floor(examples, width)
        # Eckart and Young (1936): the best affine map of rank r projects on the r leading directions of the scatter
        _, vectors = torch.linalg.eigh((x - centre).T @ (x - centre))
        basis = vectors[:, -width:]
        reached = (x - centre - (x - centre) @ basis @ basis.T).square().mean().item()
        assert reached == pytest.approx(floor, rel=1e-9)
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            other = torch.randn(15, width, generator=generator, dtype=torch.float64)
            q, _ = torch.linalg.qr(other)
            assert (x - centre - (x - centre) @ q @ q.T).square().mean().item() > floor


def test_as_many_dimensions_as_the_examples_span_leave_nothing(examples):
    assert loss_floor(examples, 11) == pytest.approx(0, abs=1e-25)  # 12 points span an affine space of 11 dimensions
    assert loss_floor(examples, 10) > 1e-4


@pytest.mark.parametrize("name", memzoo.list_models("mnist200-fc7x*"))
def test_trained_networks_stay_above_it(name):
    entry = memzoo.info(name)
    examples = memzoo.load(name).examples
    loss = next(fact.ours for fact in entry.facts if fact.measure == "mean_squared_error")
    assert loss >= loss_floor(examples, entry.config["width"])
