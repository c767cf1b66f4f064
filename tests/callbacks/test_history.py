"""A history as a table and as a picture."""

import math
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from memzoo.callbacks.history import format_certificates, format_history, plot_history, to_pandas
from memzoo.dynamics import Certificates


def rows(count, **more):
    return [
        {
            "step": step,
            "loss": 1 / step,
            "w/fraction": step / count,
            "w/recovered": 0.5,
            "w/converged": 0.25,
            "w/radius_median": 0.5,
            "w/radius_max": 1.5,
            "w/radius_q25": 0.4,
            "w/radius_q75": 0.6,
            **more,
        }
        for step in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "most"), [(1, 12), (12, 12), (13, 12), (24, 12), (25, 12), (100, 7)])
def test_a_table_is_thinned_evenly_and_ends_with_the_last_row(count, most):
    lines = format_history(rows(count), "w", "Title", most=most).splitlines()
    assert lines[0] == "Title:"
    assert lines[2] == "-" * len(lines[1])
    steps = [int(line.split()[0]) for line in lines[3:]]
    assert steps[-1] == count
    assert len(steps) <= most
    assert len({b - a for a, b in pairwise(steps)}) <= 1
    if count <= most:
        assert steps == list(range(1, count + 1))
    assert len({len(line) for line in lines[1:]}) == 1  # aligned


def test_a_table_has_the_columns_that_were_measured():
    head, _, line = format_history(rows(1), "w", "Title").splitlines()[1:]
    assert head.split() == ["step", "loss", "attractors", "recovered", "converged", "radius", "median", "max"]
    assert line.split() == ["1", "1.0e+00", "100%", "50%", "25.0%", "0.500", "1.500"]
    gaps = [{"step": 1, "loss": 1.0}, *rows(1)]
    assert "nan" in format_history(gaps, "w", "Title").splitlines()[3]


def test_a_data_frame_has_a_row_for_each_measurement():
    frame = to_pandas(rows(3))
    assert frame["step"].tolist() == [1, 2, 3]
    assert len(frame) == 3


def check_against_steps(axes):
    assert not axes.get_legend().get_frame_on()
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3, 4]


def test_the_picture_shows_shares_against_steps():
    shares, _, _ = plot_history(rows(4), "w").axes
    found = {line.get_label(): list(line.get_ydata()) for line in shares.lines}
    assert found["certified attractors"] == [0.25, 0.5, 0.75, 1.0]
    assert found["recovered"] == [0.5] * 4
    assert found["starts converged"] == [0.25] * 4
    assert shares.get_ylim() == (-0.03, 1.03)
    check_against_steps(shares)


def test_the_picture_shows_the_radius_against_steps():
    _, radius, _ = plot_history(rows(4), "w").axes
    found = {line.get_label(): list(line.get_ydata()) for line in radius.lines}
    assert found["largest"] == [1.5] * 4
    assert found["median"] == [0.5] * 4
    assert [1, 1] in found.values()  # what a radius is compared with
    band = radius.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.4, 0.6)
    assert 0 < radius.collections[0].get_alpha() < 1  # the lines under it are seen
    check_against_steps(radius)


def test_the_picture_shows_the_loss_on_a_logarithmic_axis():
    history = rows(4)
    history[0]["loss"] = 0.0  # has no place there
    _, _, loss = plot_history(history, "w").axes
    assert list(loss.lines[0].get_xdata()) == [2, 3, 4]
    assert loss.get_yscale() == "log"


def test_without_shares_there_are_two_panels():
    history = [{key: value for key, value in row.items() if key.split("/")[-1] not in SHARES} for row in rows(2)]
    assert len(plot_history(history, "w").axes) == 2
    history[0]["loss"] = history[1]["loss"] = math.nan
    assert not plot_history(history, "w").axes[-1].lines


SHARES = {"fraction", "recovered", "converged"}


def certificates(offset, radius, residual, limit_of, eps=0.5):
    count = len(offset)
    flags = torch.ones(count, dtype=torch.bool)
    return Certificates(
        points=torch.zeros(count, 2),
        fixed=flags,
        open=~flags,
        offset=torch.tensor(offset),
        group_offset=torch.tensor(offset),
        residual=torch.tensor(residual),
        location_error=torch.zeros(count),
        radius=torch.tensor(radius),
        radius_error=torch.zeros(count),
        derivative=["verified"] * count,
        pushed=flags,
        returns=flags,
        ruled_out=~flags,
        distinct=flags,
        limit_of=torch.tensor(limit_of),
        limit=torch.zeros(count, 2),
        resolution=torch.zeros(count),
        eps=torch.full((count,), eps),
        basin_radius=torch.zeros(count),
        basin_share=math.nan,
    )


def test_the_line_of_an_example_names_those_that_share_its_limit():
    found = certificates([0.1, 0.25, 0.125], [0.5, 0.5, 1.5], [1e-3, 0.0, 0.0], [0, 0, 2])
    head, columns, rule, *lines = format_certificates(found, [7, 8, 9]).splitlines()
    assert head == "2 of 3 are attractors, eps = 0.5; they end at 2 distinct limits:"
    expected = ["example", "attractor", "shares", "its", "limit", "with", "offset", "radius", "residual"]
    assert columns.split() == expected
    assert set(rule) == {"-"}
    expected = [
        ["7", "yes", "8", "0.1", "0.500", "1.0e-03"],
        ["8", "yes", "7", "0.25", "0.500", "0.0e+00"],
        ["9", "no", "-", "0.125", "1.500", "0.0e+00"],
    ]
    assert [line.split() for line in lines] == expected


def test_examples_that_were_not_followed_end_at_no_limit():
    found = certificates([0.1, math.nan, math.nan], [0.5, math.nan, math.nan], [0.0, math.nan, math.nan], [0, 1, 2])
    found = replace(found, ruled_out=torch.tensor([False, True, True]))
    head = format_certificates(found, [0, 1, 2]).splitlines()[0]
    assert head.endswith("1 end at 1 distinct limit, 2 have no fixed point within eps and were not followed:")


@pytest.mark.parametrize(("count", "sharing"), [(5, "1, 2, 3, 4"), (6, "1, 2, 3, 4, ...")])
def test_at_most_four_examples_that_share_a_limit_are_named(count, sharing):
    zeros = [0.0] * count
    head, *_, first = format_certificates(
        certificates(zeros, zeros, zeros, [0] * count), list(range(count))
    ).splitlines()[:4]
    assert head.endswith("they end at 1 distinct limit:")
    assert f" {sharing}  " in first


def test_a_data_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="the history as a data frame needs pandas; pip install pandas"):
        to_pandas(rows(1))


def test_an_empty_history_has_an_empty_picture():
    figure = plot_history([], "w")
    assert len(figure.axes) == 2
    assert not figure.axes[-1].lines


def test_no_figure_of_a_history_stays_open():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    row = {"step": 1, "loss": 0.5, "attractor/radius_median": 0.5, "attractor/radius_max": 0.7}
    figures = [plot_history([row], "attractor") for _ in range(3)]
    assert pyplot.get_fignums() == before
    assert all(figure.axes for figure in figures)
