"""Test the curve of recovery."""

from xml.etree import ElementTree

import pytest
import torch
from matplotlib import rc_context

from memzoo.auditing.curve import draw_recovery, render_recovery

RECOVERED_AT = torch.tensor([0, 3, 3, 7, -1, -1, -1, -1])


def heights(recovered_at, steps):
    """Return the points of the only line of a drawing."""
    (axes,) = draw_recovery({"members": recovered_at}, steps).axes
    (line,) = axes.lines
    assert line.get_drawstyle() == "steps-post"  # a height holds from its step on
    return line.get_xydata()


@pytest.mark.parametrize("step", range(11))
def test_the_height_is_the_share_that_has_come_out_by_a_step(step):
    points = heights(RECOVERED_AT, 10)
    height = [share for at, share in points if at <= step][-1]
    share = ((RECOVERED_AT >= 0) & (step >= RECOVERED_AT)).double().mean()
    assert height == pytest.approx(share.item())


def test_the_curve_reaches_from_step_0_to_the_last_step():
    steps, shares = heights(RECOVERED_AT, 10).T
    assert steps.min() == 0
    assert steps.max() == 10
    assert shares[0] == 0
    assert shares[-1] == 0.5


def test_the_curve_of_a_group_that_never_comes_out_is_zero():
    recovered_at = torch.tensor([-1, -1])
    assert not heights(recovered_at, 10)[:, 1].any()


def test_equal_numbers_give_equal_drawings_that_need_no_other_file():
    groups = {"members": RECOVERED_AT, "controls": torch.tensor([-1, 2])}
    text = render_recovery(groups, 10)
    assert text == render_recovery(groups, 10)
    assert "http" not in text
    drawing = ElementTree.fromstring(text)
    words = [element.text for element in drawing.iter("text")]
    assert {"members", "controls", "step t", "50 %"} <= set(words)


def test_the_style_of_the_user_has_no_part_in_the_drawing():
    groups = {"members": RECOVERED_AT}
    text = render_recovery(groups, 10)
    with rc_context({"axes.facecolor": "black", "font.size": 30, "text.color": "red"}):
        assert render_recovery(groups, 10) == text


def test_the_groups_differ_without_colour():
    groups = {"members": RECOVERED_AT, "controls": torch.tensor([-1, 2])}
    (axes,) = draw_recovery(groups, 10).axes
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
