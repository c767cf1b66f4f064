"""One bad example is one bad example: the others are measured, and it stays in the denominators."""

import math

import pytest
import torch
from fake_runs import Net, after_batch, begin_run, trainer
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback, StopBeforeMemorized, StopWhenMemorized
from memzoo.callbacks.bad_rows import find_bad_rows
from memzoo.callbacks.radii import summarise_radii
from memzoo.runs import callbacks_of

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
STARTS = torch.tensor([[0.5, 0.5], [0.5, -2.0], [-3.0, 0.5], [-0.5, -0.5]])


class Refusing(nn.Module):
    """Goes half of the way to the corner of its quadrant, except in some quadrants, where something is wrong."""

    def __init__(self, how, bad):
        super().__init__()
        self.how = how
        self.bad = bad
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        corner = x.sign() + self.shift
        wrong = torch.stack([(corner == CORNERS[i].to(x)).all(1) for i in self.bad] or [x[:, 0].isnan()]).any(0)
        if self.how in ("raises", "breaks") and wrong.any():
            raise ValueError("no such quadrant") if self.how == "raises" else torch.linalg.LinAlgError("singular")
        y = (x + corner) / 2
        if self.how == "nan":
            return torch.where(wrong[:, None], torch.nan, y)
        if self.how == "infinite":
            return torch.where(wrong[:, None], torch.inf, y)
        if self.how == "standardized":  # 0 / 0 in the derivative, as of the root of a variance at a constant image
            distance = torch.where(wrong, (x - corner).square().sum(1), 1.0).sqrt()
            return y + 0.0 * distance[:, None]
        return y


HOW = ["raises", "breaks", "nan", "infinite", "standardized"]


def measured(how, bad, kind=AttractorCallback, **settings):
    """Measure in a run, from its second step on where something is wrong."""
    arguments = (CORNERS, STARTS) if kind is AttractorCallback else (CORNERS,)
    more = {"eps": 0.1, "steps": 40} if kind is AttractorCallback else {}
    callback = kind(*arguments, every_n_steps=1, verbose=False, **more)
    layer = Refusing(how, ())
    callback, run, module = begin_run(callback, trainer(**settings), Net(layer))
    after_batch(callback, run, module, 1)
    layer.bad = bad
    with pytest.warns(UserWarning, match=rf"{callback.name}: {len(bad)} of 4 examples could not be measured: {bad[0]}"):
        after_batch(callback, run, module, 2)
    return callback, run, module


@pytest.mark.filterwarnings("ignore:.* of 4 starts could not be measured")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("bad", [(0,), (1, 2, 3)], ids=str)
def test_the_others_are_measured_as_they_are(how, bad):
    callback, *_ = measured(how, bad)
    before, row = callback.history
    good = 4 - len(bad)
    assert before["attractor/fraction"] == before["attractor/recovered"] == before["attractor/measured"] == 1
    assert "reason" not in before
    for key in ("fraction", "recovered", "ever_recovered", "converged", "measured"):
        assert row[f"attractor/{key}"] == good / 4 or (key == "converged" and how == "standardized"), key
    assert row["attractor/radius_median"] == row["attractor/radius_max"] == pytest.approx(0.5)
    assert row["attractor/residual"] == 0
    assert row["reason"].startswith(f"{len(bad)} of 4 examples could not be measured: ")
    assert callback.certificates.attractor.tolist() == [True] * good
    kept = [line.split()[0] for line in callback.examples_table().splitlines()[3:]]
    assert kept == [str(i) for i in range(4) if i not in bad]


@pytest.mark.filterwarnings("ignore:.* of 4 starts could not be measured")
@pytest.mark.parametrize("how", HOW)
def test_where_all_are_bad_nothing_is_known(how):
    callback, _, module = measured(how, (0, 1, 2, 3))
    row = callback.history[-1]
    assert row["attractor/measured"] == 0
    unknown = [key for key in callback.keys if key != "attractor/measured"]
    assert all(math.isnan(row[key]) for key in unknown)
    assert len(module.logged) == len(callback.keys)  # monitors keep what was measured before
    assert callback.certificates is None
    assert callback.table()


@pytest.mark.parametrize("how", HOW)
def test_spectra_of_the_others(how):
    callback, *_ = measured(how, (1,), ContractionCallback)
    row = callback.history[-1]
    assert row["contraction/contracting"] == row["contraction/measured"] == 0.75
    assert row["contraction/radius_max"] == row["contraction/sigma_median"] == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:.* of 4 starts could not be measured")
def test_measured_outside_of_a_run_the_values_are_the_same():
    callback, _, module = measured("raises", (2,))
    row = callback.history[-1]
    assert callback.measure(module) == {key: row[key] for key in row if key.startswith("attractor/")}


@pytest.mark.filterwarnings("ignore:.* of 4 starts could not be measured")
@pytest.mark.parametrize(("share", "stops"), [(0.9, False), (0.0, True)])
def test_a_bad_example_may_be_memorized(share, stops):
    rule = StopBeforeMemorized(share)
    callback = AttractorCallback(CORNERS + 9, STARTS, eps=0.1, steps=2, every_n_steps=1, verbose=False)
    layer = Refusing("raises", ())
    run = trainer(callbacks=[rule, callback])
    module = Net(layer)
    rule.begin(run, module)
    assert callback in callbacks_of(run)
    for measured_share in (1.0, 0.75):
        row = {"step": 1, "attractor/fraction": 0.0, "attractor/recovered": 0.0, "attractor/residual": 1.0}
        callback.history.append({**row, "attractor/measured": measured_share})
        rule.on_measurement(run, module, callback)
    assert run.should_stop is stops
    assert rule.clean_step == 0
    if stops:
        assert "attractor/fraction = 0 and 0.25 of the examples not measured, > 0" in rule.stopped_because


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ({"measured": 0.0, "fraction": math.nan, "recovered": math.nan, "residual": math.nan}, True),
        ({"measured": math.nan, "fraction": math.nan, "recovered": math.nan, "residual": math.nan}, False),
        ({"measured": math.nan, "fraction": 0.0, "recovered": 0.0, "residual": math.nan}, False),
    ],
    ids=["all bad", "failed", "not finite"],
)
def test_a_failed_measurement_says_nothing_where_all_examples_bad_say_that_all_may_be_memorized(values, stops):
    callback = AttractorCallback(CORNERS)
    callback.history = [{f"attractor/{key}": value for key, value in values.items()}]
    before = StopBeforeMemorized()
    when = StopWhenMemorized(0.1, measurements=1)
    run = trainer(callbacks=[callback])
    when.on_measurement(run, Net(), callback)
    assert not run.should_stop
    before.on_measurement(run, Net(), callback)
    assert run.should_stop is stops
    assert before.clean is None


@pytest.mark.parametrize("bad", [[], [0], [6], [2, 3], list(range(7))], ids=str)
def test_bad_rows_are_found_by_halving(bad):
    calls = []

    def work(rows):
        calls.append(rows.tolist())
        if set(rows.tolist()) & set(bad):
            raise KeyError("bad")

    found = find_bad_rows(work, torch.arange(7))
    assert found == dict.fromkeys(bad, "KeyError: 'bad'")
    assert len(calls) <= 2 * 7


def test_radii_that_are_not_known_are_left_out():
    found = summarise_radii(torch.tensor([0.5, math.nan, 1.5, math.inf]))
    assert found["radius_median"] == 1.5
    assert found["radius_max"] == math.inf
    assert math.isnan(summarise_radii(torch.tensor([math.nan]))["radius_median"])


NO_ROOM = [
    MemoryError("no room"),
    torch.OutOfMemoryError("no room"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", NO_ROOM, ids=["Python", "torch", "torch on the CPU"])
@pytest.mark.parametrize("name", ["recovery_curve", "certify_near"])
def test_where_memory_is_used_up_nothing_is_tried_again(error, name, monkeypatch):
    calls = []

    def fail(*arguments, **settings):
        calls.append(arguments)
        raise error

    monkeypatch.setattr(f"memzoo.callbacks.attractor.{name}", fail)
    callback = AttractorCallback(CORNERS, STARTS, eps=0.1, steps=3, every_n_steps=1, verbose=False)
    callback, run, module = begin_run(callback, trainer(), Net(Refusing("raises", ())))
    with pytest.warns(UserWarning, match="a measurement failed, training goes on"):
        after_batch(callback, run, module, 1)
    assert len(calls) == 1
    assert callback.history[-1]["reason"] == f"{type(error).__name__}: {error}"
