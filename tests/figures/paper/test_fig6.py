"""Figure 6 with three maps in the place of the network after each step."""

import pytest
import torch
from stand_in import SHAPE, assert_only_figure, index_rows, make_material, pull, read_images
from torch.testing import assert_close

from memzoo.figures.paper import fig6

RATE = 0.25


@pytest.fixture
def course():
    """Store first the mean of the images, then points that are one away from them, and at the end the images."""
    final = 3 * torch.rand(4, *SHAPE, dtype=torch.float64)
    step = torch.zeros(SHAPE, dtype=torch.float64)
    step[0, 0, 0] = 1
    stored = {500: final.mean(0, keepdim=True), 5000: final + step, None: final}
    models = {(0, at): pull(points, final, rate=RATE, examples=final) for at, points in stored.items()}
    return make_material("fig6", models), final, stored


def test_limits_and_outputs_after_each_step_are_found(course):
    material, final, stored = course
    found = fig6.FIGURE.arrays(material)
    assert torch.equal(found["examples"], final)
    assert found["epoch"].tolist() == [100, 1000, 4000]
    mean = stored[500].expand_as(final)
    limits = torch.stack([mean, stored[5000], final])
    assert_close(found["limits"], limits)
    # one step of the map goes from x to m + RATE (x - m)
    assert_close(found["outputs"], limits + RATE * (final - limits))
    expected = (final - limits).flatten(2).norm(dim=2)
    assert_close(found["offset"].double(), expected)
    expected = torch.full((3, 4), RATE, dtype=torch.float64)
    assert_close(found["radius"].double(), expected)
    expected = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert found["limit_of"].tolist() == expected
    assert found["attracts"].all()  # the mean, too, although it belongs to no single image


def test_rows_count_distinct_limits_and_measure_outputs(course):
    material, final, stored = course
    row = index_rows(fig6.FIGURE.rows(material, fig6.FIGURE.arrays(material)))
    for epoch, words in ((100, "1 of 1"), (1000, "4 of 4"), (4000, "4 of 4")):
        limits = row[f"epoch {epoch}: limits of the training images that attract"]
        assert (limits.ours, limits.holds) == (words, True)
    distance = row["epoch 100: median distance of outputs from these limits, L2"].ours
    gaps = RATE * (final - stored[500]).flatten(1).norm(dim=1)
    assert distance == pytest.approx(gaps.median().item())
    assert row["epoch 1000: median distance of outputs from these limits, L2"].ours == pytest.approx(RATE)
    assert row["certified attractors (step 500)"].ours == 0
    assert row["certified attractors (step 5000)"].ours == 4
    assert row["median distance of these from their images, L2 (step 5000)"].ours == pytest.approx(1)
    assert "certified attractors" not in row


def test_limits_that_do_not_attract_fall_short():
    images = torch.rand(3, *SHAPE, dtype=torch.float64)
    identity = pull(images, images, rate=1.0)  # every point is a fixed point
    material = make_material("fig6", {(0, step): identity for step in fig6.STEPS})
    row = index_rows(fig6.FIGURE.rows(material, fig6.FIGURE.arrays(material)))
    limits = row["epoch 100: limits of the training images that attract"]
    assert (limits.ours, limits.holds) == ("0 of 3", False)


def test_the_picture_names_the_limits_below_the_images():
    found = {
        "examples": torch.rand(3, *SHAPE),
        "epoch": torch.tensor([100, 1000, 4000]),
        "outputs": torch.rand(3, 3, *SHAPE),
        "limits": torch.rand(3, 3, *SHAPE),
        "offset": torch.tensor([[12.34, 5.0, 2.0], [0.25, 0.5, 0.75], [0.01, 0.02, 0.03]]),
        "radius": torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        "limit_of": torch.tensor([[0, 0, 2], [0, 1, 2], [0, 1, 1]]),
        "attracts": torch.tensor([[True, True, False], [True, True, True], [False, True, True]]),
    }
    figure = fig6.FIGURE.draw(found)
    assert_only_figure(figure)
    images = [found["examples"]]
    for outputs, limits in zip(found["outputs"], found["limits"], strict=True):
        images += [outputs, limits]
    assert_close(read_images(figure.axes), torch.cat(images))
    rows = [figure.axes[3 * row : 3 * row + 3] for row in range(7)]
    below = [[axes.get_xlabel() for axes in row] for row in rows]
    assert below[2] == ["a*  12.3\n$\\rho$ = 0.50", "a*  5.0\n$\\rho$ = 0.50", "b  2.0\n$\\rho$ = 0.90"]
    assert below[4][2] == "c*  0.75\n$\\rho$ = 0.30"
    assert [text[:2] for text in below[6]] == ["a ", "b*", "b*"]
    assert not any(below[0] + below[1] + below[3] + below[5])
    labels = [row[0].get_ylabel() for row in rows]
    assert labels[0] == "training image"
    assert labels[3:5] == ["epoch 1000\noutput", "epoch 1000\nlimit"]
