"""Examples that are read from the data of a Trainer."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from memzoo.modules.inputs import find_first_loader, has_rows, input_of, matching_noise, read_rows


class Stream(IterableDataset):
    def __iter__(self):
        return iter([torch.zeros(1)])


def test_the_first_loader_of_any_nesting_is_found():
    one = DataLoader(TensorDataset(torch.rand(3, 2)))
    two = DataLoader(TensorDataset(torch.rand(4, 2)))
    for loaders in (one, [one, two], (one, two), {"a": one, "b": two}, [{"a": [one]}, two]):
        assert find_first_loader(loaders) is one
        assert has_rows(loaders)
    assert find_first_loader([]) == []
    assert not has_rows([])
    assert not has_rows(None)
    assert not has_rows(DataLoader(Stream()))
    with pytest.raises(TypeError, match="a Stream has no rows to look up; pass the tracked examples"):
        read_rows(DataLoader(Stream()), 3)
    with pytest.raises(TypeError, match="a NoneType has no rows to look up"):
        read_rows(None, 3)


DATA = TensorDataset(torch.arange(10.0)[:, None])


@pytest.mark.parametrize(
    ("most", "expected"), [(10, list(range(10))), (99, list(range(10))), (4, [0, 3, 6, 9]), (1, [0])]
)
def test_rows_are_spread_over_all(most, expected):
    assert read_rows(DataLoader(DATA), most).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("size", "most", "batches", "expected"),
    [(3, 99, 2, list(range(6))), (3, 2, 2.0, [0, 5]), (8, 99, 2, list(range(10)))],
)
def test_rows_are_spread_over_the_batches_of_an_epoch(size, most, batches, expected):
    loader = DataLoader(DATA, batch_size=size)
    assert read_rows(loader, most, batches=batches).flatten().tolist() == expected


def test_a_loader_that_shuffles_visits_all_rows():
    loader = DataLoader(DATA, batch_size=3, shuffle=True)
    assert read_rows(loader, 4, batches=2).flatten().tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(DATA, sampler=SubsetRandomSampler([7, 2, 5])), [2, 5, 7]),
        (DataLoader(DATA, batch_sampler=[[4, 1], [8]]), [1, 4, 8]),
        (DataLoader(Subset(DATA, [9, 1])), [9, 1]),
    ],
)
def test_rows_are_those_that_a_sampler_visits(loader, expected):
    assert read_rows(loader, 99, batches=math.inf).flatten().tolist() == expected


def test_rows_are_those_of_the_first_batches_of_a_batch_sampler():
    loader = DataLoader(DATA, batch_sampler=[[4, 1], [8]])
    assert read_rows(loader, 99, batches=1).flatten().tolist() == [1, 4]


def test_the_input_of_a_sample_is_found():
    x = torch.rand(2)
    for sample in (x, (x, 1), [x], [[x, 2], 3], {"label": 1, "image": x}, {"x": (x, 1)}, {"pixel_values": x}):
        assert input_of(sample) is x
    for sample, message in (
        (torch.ones(2).long(), r"samples are torch.int64 tensors; .* pass examples="),
        ({"label": x}, r"dicts with keys \['label'\], none of \('image',"),
        ((), "samples are tuple, not tensors"),
        ("text", "samples are str, not tensors"),
    ):
        with pytest.raises(TypeError, match=message):
            input_of(sample)


def test_samples_of_different_shapes_need_a_collate():
    data = [torch.ones(2), torch.ones(3)]
    with pytest.raises(TypeError, match=r"samples are not all of one shape .*; pass examples=tensor"):
        read_rows(DataLoader(data), 2)
    loaders = DataLoader(data, collate_fn=lambda some: nn.utils.rnn.pad_sequence(some, batch_first=True))
    padded = read_rows(loaders, 2)
    assert padded.tolist() == [[1, 1, 0], [1, 1, 1]]


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


@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_of_all_processes_of_a_distributed_run_are_visited(shuffled):
    sampler = DistributedSampler(DATA, num_replicas=2, rank=0, shuffle=shuffled)
    loader = DataLoader(DATA, batch_size=2, sampler=sampler)
    expected = list(range(10)) if shuffled else [0, 1, 2, 3]  # one batch of two in each of two processes
    assert read_rows(loader, 99, batches=1).flatten().tolist() == expected
    found = read_rows(loader, 99, batches=3).flatten().tolist()
    assert found == list(range(10))
    assert read_rows(loader, 99).flatten().tolist() == list(range(10))


def test_a_sampler_that_lightning_wrapped_is_looked_into():
    # Lightning wraps the sampler in a dataset of indices when it distributes a run
    own = SubsetRandomSampler([6, 3])
    wrapped = SimpleNamespace(dataset=SimpleNamespace(_sampler=own))
    loader = SimpleNamespace(dataset=DATA, sampler=wrapped, batch_size=2)
    assert read_rows(loader, 99).flatten().tolist() == [3, 6]


def test_a_collate_that_fails_does_not_hide_what_is_wrong():
    def fails(samples):
        raise ZeroDivisionError

    with pytest.raises(TypeError, match="not all of one shape"):
        read_rows(DataLoader([torch.ones(2), torch.ones(3)], collate_fn=fails), 2)


def test_rows_leave_the_generators_and_the_samples_alone():
    class Drawn(TensorDataset):
        def __getitem__(self, index):
            return self.tensors[0][index] + torch.rand(1)

    state = torch.get_rng_state()
    read_rows(DataLoader(Drawn(DATA.tensors[0])), 3)
    assert torch.equal(torch.get_rng_state(), state)
    found = read_rows(DataLoader(DATA), 10)
    found.zero_()
    assert DATA.tensors[0][9] == 9
