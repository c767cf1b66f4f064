"""What a measurement costs is known before: the parts, their laws of growth, and the line that announces long work."""

import logging
import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, estimate
from memzoo.dynamics.attractors.estimate import announce_long_work
from memzoo.dynamics.orbits import predict_lengths
from memzoo.dynamics.spectra import work
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError

PARTS = ["orbits", "recovery", "spectrum", "certify", "census"]


def build_network() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 10), nn.Tanh(), nn.Linear(10, 40)).eval()


def test_the_parts_of_an_estimate():
    found = estimate(build_network(), torch.randn(3, 40), 5, steps=20)
    assert list(found.seconds) == list(found.bytes) == PARTS
    assert all(0 < seconds < 100 for seconds in found.seconds.values())
    assert all(count > 0 for count in found.bytes.values())
    assert (found.method, found.width) == ("cut", 10)
    assert (found.examples, found.starts, found.steps) == (3, 5, 20)
    assert found.measurement_seconds == sum(found.seconds[name] for name in ("recovery", "spectrum", "certify"))
    assert all(name in str(found) for name in PARTS)
    assert "cut, narrowest place 10" in str(found)


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.99])
def test_orbits_settle_when_a_geometric_sequence_does(factor):
    # |f(x) - x| = (1 - factor) |x - 100|, and the norm of x hardly changes
    x = torch.full((4, 3), 101.0, dtype=torch.float64)
    found = predict_lengths(lambda y: 100 + factor * (y - 100), x, 1e-6)
    expected = math.log(100 * 1e-6 / (1 - factor)) / math.log(factor)
    assert found.tolist() == pytest.approx([expected] * 4, abs=2, rel=0.02)


def test_orbits_that_do_not_slow_down_settle_never():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert predict_lengths(lambda x: x @ turn, torch.eye(2), 1e-6).isinf().all()
    # It rests at first, beside an unstable point.
    assert (
        predict_lengths(lambda x: 1.5 * (x - 1) + 1, torch.full((1, 2), 1 + 1e-9, dtype=torch.float64), 1e-6)
        .isinf()
        .all()
    )


def test_the_price_of_batches(monkeypatch):
    now = 0.0

    def compute(rows: int) -> None:
        nonlocal now
        now += 0.01 + 0.002 * rows

    monkeypatch.setattr(work, "clock", lambda: now)
    price = work.time_batches(compute)
    assert (price.batch_s, price.row_s) == pytest.approx((0.01, 0.002))
    assert price.of(3, 100) == pytest.approx(0.23)


@pytest.mark.parametrize(
    ("f", "x", "error", "match"),
    [
        (nn.Linear(4, 5), torch.ones(2, 4), NotASelfMapError, "from a space to itself"),
        (nn.Identity(), torch.full((2, 4), math.nan), NonFiniteError, "x holds NaN"),
    ],
)
def test_what_is_no_map_is_refused(f, x, error, match):
    with pytest.raises(error, match=match):
        estimate(f, x)


def test_starts_of_another_space_are_refused():
    with pytest.raises(InvalidArgumentError, match="starts and x"):
        estimate(nn.Identity(), torch.ones(2, 4), torch.ones(2, 5))


def test_long_work_is_announced_once(monkeypatch, caplog):
    module = build_network()
    x = torch.randn(3, 40)
    ticks = iter(range(10**9))
    monkeypatch.setattr(work, "clock", lambda: 10.0 * next(ticks))  # everything seems to take ten seconds
    with caplog.at_level(logging.INFO, logger="memzoo"):
        announce_long_work("certify", module, x, 100, 0.001)  # too quick to be looked at
        announce_long_work("certify", module, x, 100, 1.0)
        announce_long_work("census", module, x, 100, 1.0)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "memzoo"]
    assert line.startswith("memzoo: certify of 3 points takes about")


def test_quick_work_is_not_announced(caplog):
    with caplog.at_level(logging.INFO, logger="memzoo"):
        certify(build_network(), torch.randn(3, 40), eps=1.0)
        announce_long_work("certify", build_network(), torch.randn(3, 40), 5, 1.0)
    assert not [record for record in caplog.records if record.name == "memzoo"]
