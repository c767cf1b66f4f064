"""The shares of several processes, and how their results come together."""

from types import SimpleNamespace

import pytest
import torch

from memzoo.callbacks.shards import Part, find_part, gather_parts
from memzoo.errors import NonFiniteError


@pytest.mark.parametrize("count", [1, 5, 6])
@pytest.mark.parametrize("of", [1, 2, 4])
def test_parts_share_out_all_rows_and_are_put_back_in_order(count, of):
    parts = [Part(index, of).select(torch.arange(count)) for index in range(of)]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    found = torch.cat(parts)[Part(0, of).restore_order(count)].tolist()
    assert found == list(range(count))
    assert Part() == Part(0, 1)


def process(world_size=1, rank=0, told=None):
    strategy = SimpleNamespace(broadcast=lambda own: own if rank == 0 else told)
    return SimpleNamespace(world_size=world_size, global_rank=rank, is_global_zero=rank == 0, strategy=strategy)


def test_the_first_process_measures_all_where_processes_are_not_connected():
    assert find_part(process(3, 1)) == Part()
    assert gather_parts(process(3, 0), Part(), lambda: 7) == [7]
    trainer = process(3, 1, told=7)
    found = gather_parts(trainer, Part(), lambda: pytest.fail("the first one works alone"))
    assert found == [7]


def test_an_error_of_one_process_is_one_of_all():
    def fails(error):
        raise error

    with pytest.raises(KeyError, match="own"):
        gather_parts(process(), Part(), lambda: fails(KeyError("own")))
    with pytest.raises(RuntimeError, match=r"KeyError in process 0: 'lost'"):
        gather_parts(process(2), Part(), lambda: fails(KeyError("lost")))
    with pytest.raises(NonFiniteError, match="grew"):
        gather_parts(process(2), Part(), lambda: fails(NonFiniteError("grew")))


def test_the_results_of_all_processes_come_together(monkeypatch):
    others = [None, 8, None]

    def gather(found, own):
        found[:] = [own if other is None else other for other in others]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert gather_parts(process(3, 2), Part(2, 3), lambda: 7) == [7, 8, 7]
    others[1] = RuntimeError("KeyError in process 1: 'lost'")
    with pytest.raises(RuntimeError, match="KeyError in process 1"):
        gather_parts(process(3, 2), Part(2, 3), lambda: 7)
