"""Loaders of full and of shuffled batches."""

import itertools

import pytest
import torch

from memzoo.data import MNIST20, full_batches, mini_batches


def test_full_batches_repeat_everything():
    images = torch.rand(5, 1, 2, 2)
    batches = list(full_batches(images, steps_per_epoch=3))
    assert len(batches) == 3
    assert all(torch.equal(batch[0], images) for batch in batches)


def test_batches_are_shuffled_by_seed_and_epoch_alone():
    loader = MNIST20(batch_size=8, seed=3).train_dataloader()
    assert [len(batch[0]) for batch in loader] == [8, 8, 4]

    def order(epoch, seed=3):
        loader = mini_batches(torch.arange(20.0)[:, None], 8, seed=seed)
        loader.sampler.set_epoch(epoch)
        torch.rand(1)
        return torch.cat([batch[0] for batch in loader]).flatten().tolist()

    assert sorted(order(0)) == list(range(20))
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=4)


@pytest.mark.parametrize("given", range(7))
def test_a_loader_goes_on_after_the_batches_that_were_given_out(given):
    def loader():
        return mini_batches(torch.arange(6.0)[:, None], 2, passes_per_epoch=2)

    first = loader()
    again = loader()
    whole = list(loader())
    seen = list(itertools.islice(first, given))
    again.load_state_dict(first.state_dict())
    rest = list(again) if given < 6 else []
    expected = torch.cat([b[0] for b in whole])
    assert torch.equal(torch.cat([b[0] for b in seen + rest]), expected)
    assert len(list(again)) == 6  # the next epoch is whole

    again.load_state_dict(first.state_dict())
    again.sampler.set_epoch(1)  # the checkpoint was of an epoch's end
    assert len(list(again)) == 6


def test_loaders_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    for loader in (full_batches(torch.rand(3, 2, generator=torch.Generator()), steps_per_epoch=2), mini_batches):
        list(loader if loader is not mini_batches else mini_batches(torch.zeros(3, 2), 2))
    assert torch.equal(torch.get_rng_state(), before)
