"""A sample of the distinct rows that came by, whatever their order, their repetition and their batches."""

import pytest
import torch

from memzoo.modules import Reservoir, join_samples
from memzoo.modules.reservoir import POOL_NUMBERS, _multiply

ROWS = torch.rand(300, 5, generator=torch.Generator().manual_seed(7))


def sample(batches, least=20, **options):
    reservoir = Reservoir(least, **options)
    for batch in batches:
        reservoir.add(batch)
    return reservoir.take()


def as_set(rows):
    return set(map(tuple, rows.tolist()))


def test_all_rows_are_kept_in_their_order_as_long_as_there_is_room():
    kept = sample(ROWS.split(7), 300)
    assert torch.equal(kept.rows, ROWS)
    assert kept.places.tolist() == list(range(300))
    assert torch.equal(sample(ROWS.split(7), 3, pool=1000).rows, ROWS)
    assert Reservoir(3).take() is None
    assert sample([ROWS[:0]]) is None


def test_the_sample_depends_on_the_rows_alone():
    kept = as_set(sample([ROWS]).rows)
    assert len(kept) == 20
    assert kept < as_set(ROWS)
    shuffled = ROWS[torch.randperm(300)]
    for batches in (
        shuffled.split(1),
        shuffled.split(64),
        [ROWS[:250], ROWS[100:], ROWS[:3]],
        [ROWS.double().float()],
        [ROWS.repeat(3, 1)],
        [ROWS.t().contiguous().t()],
    ):
        assert as_set(sample(batches).rows) == kept


def test_every_row_is_as_likely_as_every_other():
    # 20 of 100 rows in 400 data sets: each place is kept 80 +- 8 times, and 5 standard deviations are 40
    counts = torch.zeros(100)
    for _ in range(400):
        counts[sample([torch.rand(100, 3)]).places] += 1
    assert (counts - 80).abs().max() < 40
    # one row beside another says nothing: neighbours are kept together in 20/100 * 19/99 of the sets
    digits = torch.arange(10_000.0)[:, None]
    places = sample([digits], 1000).places
    assert places.float().mean().item() == pytest.approx(5000, abs=5 * 2887 / 1000**0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_that_differ_in_a_bit_are_two_and_equal_ones_are_one(dtype):
    x = torch.zeros(4, 3, dtype=dtype)
    x[1, 2] = torch.finfo(dtype).tiny
    x[2, 0] = torch.finfo(dtype).tiny
    x[3] = -x[0]  # minus zero
    kept = sample([x]).rows
    assert kept.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(kept, x[:3].to(kept.dtype))
    nan = torch.full((2, 3), torch.nan)
    assert len(sample([nan]).rows) == 1


def test_samples_of_processes_make_the_sample_of_all():
    parts = [sample(ROWS[rank::3].split(8)) for rank in range(3)]
    whole = sample([ROWS])
    joined = join_samples([*parts, None], 20)
    assert as_set(joined.rows) == as_set(whole.rows)
    four = sample([ROWS[:12]], 20)
    taken_in_turn = join_samples([sample([ROWS[:12:2]]), sample([ROWS[1:12:2]])], 20)
    assert torch.equal(taken_in_turn.rows, four.rows)
    assert join_samples([None, None], 20) is None


def test_rows_that_are_wanted_come_before_others():
    first = sample([ROWS[:40]])
    again = sample([ROWS[torch.randperm(300)]], wanted=first.names)
    assert as_set(again.rows) == as_set(first.rows)
    partly = sample([ROWS[20:]], wanted=first.names)
    assert as_set(first.rows) & as_set(ROWS[20:40]) <= as_set(partly.rows)


def test_rows_of_another_shape_are_passed_over_and_a_pool_of_large_rows_is_small():
    assert torch.equal(sample([ROWS[:4], torch.rand(4, 6), ROWS[4:8]]).rows, ROWS[:8])
    large = torch.rand(6, POOL_NUMBERS // 4)
    assert len(sample([large[:, ::1024], large[:, ::1024]], 2, pool=4).rows) == 4
    assert len(sample([large], 2, pool=100).rows) == 4
    assert len(sample([large], 5, pool=100).rows) == 5


def test_the_sample_is_a_copy():
    batch = ROWS[:5].clone()
    reservoir = Reservoir(9)
    reservoir.add(batch)
    batch.zero_()
    kept = reservoir.take()
    assert torch.equal(kept.rows, ROWS[:5])
    kept.rows.zero_()
    assert torch.equal(reservoir.take().rows, ROWS[:5])


def test_whole_numbers_are_multiplied_modulo_64_bits():
    words = torch.randint(-(2**31), 2**31, (5, 40))
    multipliers = torch.randint(-(2**62), 2**62, (40,))
    exact = [sum(a * b for a, b in zip(row, multipliers.tolist(), strict=True)) for row in words.tolist()]
    wrapped = [(value + 2**63) % 2**64 - 2**63 for value in exact]
    assert _multiply(words, multipliers).tolist() == wrapped
    assert (words * multipliers).sum(1).tolist() == wrapped  # as on other devices
