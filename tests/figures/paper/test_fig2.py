"""Figure 2 with a map of space whose fixed points are known."""

import pytest
import torch
from stand_in import SHAPE, assert_only_figure, index_rows, make_material, move_points, pull, scatter_around
from torch.testing import assert_close

from memzoo.errors import UnknownCheckpointError
from memzoo.figures.paper import fig2

RATE = 0.99


@pytest.fixture(scope="module")
def roll():
    """Store four of five points in space, start beside three of them, and let one start be far off."""
    stored = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5]], dtype=torch.float64)
    between = stored.new_tensor([[0.4, 0.4, 0]])
    examples = torch.cat([stored, between])
    far = stored.new_tensor([[-1e5, 0, 0]])
    starts = torch.cat([scatter_around(stored[:3], 6), far])
    models = {0: pull(stored, starts, rate=RATE, examples=examples)}
    material = make_material("fig2", models)
    return material, stored, examples, starts


def test_the_points_are_followed_to_where_they_end(roll):
    material, stored, examples, starts = roll
    found = fig2.FIGURE.arrays(material)
    wanted = torch.stack([move_points(starts, stored, t, RATE) for t in fig2.TIMES])
    assert_close(found["points"], wanted)
    assert torch.equal(found["examples"], examples)
    assert found["attractor"].tolist() == [False, True, True, True, False]  # the first shares its limit with the last
    assert found["home"].tolist() == [True] * 6 + [False]  # 1e5 * 0.99^1111 > 0.05
    assert found["reached"].tolist() == [True, True, True, False, False]


def test_rows_have_the_facts_and_the_number_of_points_that_are_reached(roll):
    material, stored, _, starts = roll
    row = index_rows(fig2.FIGURE.rows(material, fig2.FIGURE.arrays(material)))
    assert row["training points where one of the starts ends by t = 1111"].ours == 3
    attractors = row["certified attractors"]
    assert (attractors.ours, attractors.holds) == (3, False)
    distance = torch.cdist(starts, stored).amin(1)
    for t in (11, 111):
        # t steps shrink every distance by RATE^t
        near = RATE**t * distance < fig2.EPS
        expected = near.double().mean().item()
        assert row[f"share at t = {t}"].ours == pytest.approx(expected)
    loss = 2 * (0.01 * 0.4) ** 2 / 15  # of the example that is not stored
    assert row["training loss"].ours == pytest.approx(loss)


def test_a_network_of_images_is_refused():
    image = torch.rand(1, *SHAPE)
    material = make_material("fig2", {0: pull(image, image)})
    with pytest.raises(
        UnknownCheckpointError, match=r"maps points of shape \(3, 4, 4\), and this figure shows points of"
    ):
        fig2.FIGURE.arrays(material)


def test_the_picture_shows_the_points_in_space_and_along_the_roll():
    points = torch.rand(4, 5, 3)
    examples = torch.rand(3, 3)
    home = torch.tensor([True, True, True, False, True])
    attractor = torch.tensor([True, False, True])
    figure = fig2.FIGURE.draw({"points": points, "examples": examples, "attractor": attractor, "home": home})
    assert_only_figure(figure)
    assert len(figure.axes) == 8
    for column, t in enumerate(fig2.TIMES):
        space, plane = figure.axes[2 * column : 2 * column + 2]
        assert space.get_title() == f"t = {t}"
        here = home if column == 3 else torch.ones(5, dtype=torch.bool)
        groups = (examples[attractor], examples[~attractor], points[column, here], points[column, ~here])
        for drawn, group in zip(plane.collections, groups, strict=True):
            offsets = torch.tensor(drawn.get_offsets().data).float()
            assert_close(offsets, group[:, [0, 2]])
        for drawn, group in zip(space.collections, groups, strict=True):
            for values, axis in zip(drawn._offsets3d, group.unbind(1), strict=True):
                assert_close(torch.as_tensor(values).float(), axis)
        labels = [drawn.get_label() for drawn in plane.collections]
        assert labels[0] == "training point, attractor"
        assert labels[3] == "start that has not arrived"
    found = [axes.get_ylabel() for axes in figure.axes[1::2]]
    assert found == ["z", "", "", ""]
    assert len(figure.legends[0].get_texts()) == 4
