"""Basins in the plane, of a map that takes every point to the nearest of four images."""

from collections import Counter

import pytest
import torch
from matplotlib.colors import to_rgb
from stand_in import StandIn, assert_only_figure, index_rows, pull, read_pixels, read_thumbnails

from memzoo.errors import UnknownCheckpointError
from memzoo.figures import Material
from memzoo.figures.beyond import basins
from memzoo.figures.beyond.basins import FIGURE, measure_discs


def make_arrays(ends, own):
    """Make a plane of 5 x 5 points with three images: A in the middle, B left of it, C at the upper edge."""
    x = torch.arange(5.0)
    return {
        "x": x,
        "y": x,
        "ends": ends,
        "chosen": torch.tensor([0, 1, 2]),
        "own": torch.tensor(own),
        "positions": torch.tensor([[2.0, 2.0], [0.0, 2.0], [2.0, 4.0]]),
    }


def test_a_disc_reaches_to_the_first_start_that_ends_elsewhere():
    ends = torch.zeros(5, 5, dtype=torch.long)
    ends[2, 4] = 1  # y = 2, x = 4: two from A
    ends[4, 2] = 2
    assert measure_discs(make_arrays(ends, [0, 1, 2]))[0] == 2
    ends[2, 3] = 7  # another training image, one from A
    assert measure_discs(make_arrays(ends, [0, 1, 2]))[0] == 1


def test_an_image_outside_of_its_own_basin_has_no_disc():
    ends = torch.zeros(5, 5, dtype=torch.long)
    assert measure_discs(make_arrays(ends, [3, 1, 2]))[0] == 0


@pytest.mark.parametrize("name", ["cifar10-d1", "line2-fc3x50"])
def test_a_network_of_another_kind_is_refused(name):
    message = r"mnist20-fc14x128 is a FullyConnected, nonlinear.*cannot take"
    with pytest.raises(UnknownCheckpointError, match=message):
        Material(FIGURE.ids(), [name]).model()


# A map whose basins are known ---------------------------------------------------------------------------------------

SIDE = 20  # even: the borders between the three run between the points of the grid
LONGEST = 13**0.5  # side of the triangle of the three images, whose other sides are 2 and 3


@pytest.fixture
def known(monkeypatch):
    """Store four images, the fourth beside the plane of the first three; every start ends at the nearest."""
    monkeypatch.setattr(basins, "SIDE", SIDE)
    corners = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 3, 0, 0], [3, 3, 0.4, 0]])
    rotation = torch.linalg.qr(torch.randn(4, 4))[0]
    stored = (corners @ rotation).reshape(4, 1, 2, 2) + 0.3
    material = StandIn(FIGURE.ids(), {0: pull(stored, stored)})
    return material, stored, FIGURE.arrays(material)


def test_every_point_of_the_plane_ends_at_the_image_that_is_nearest_to_it(known):
    _, stored, found = known
    images = stored.flatten(1).double()
    first, second, third, _ = images
    along = (second - first) / 2  # the lengths and the right angle of the triangle are known
    across = (third - first) / 3
    grid = first + found["x"][None, :, None] * along + found["y"][:, None, None] * across
    squares = (grid[:, :, None] - images).square().sum(3)
    least = squares.sort(2)
    best, second_best, *_ = least.values.unbind(2)
    nearest = least.indices[..., 0]
    assert (second_best - best).min() > 1e-3  # none lies on a border
    assert torch.equal(found["ends"], nearest)
    assert torch.equal(found["nearest"], nearest)
    assert set(nearest.unique().tolist()) == {0, 1, 2, 3}
    best_other = torch.where(nearest == 0, second_best, best)
    torch.testing.assert_close(found["lead"][0], best_other - squares[..., 0], atol=1e-5, rtol=0)


def test_the_picture_holds_the_three_images_and_a_margin(known):
    _, stored, found = known
    triangle = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(found["positions"], triangle, atol=1e-5, rtol=0)
    assert found["chosen"].tolist() == [0, 1, 2]
    assert found["own"].tolist() == [0, 1, 2]
    assert torch.equal(found["images"], stored[:3])
    assert torch.equal(found["others"], stored[3:])
    # the plane is a square around the triangle, whose longer leg is 3
    half = 3 / 2 + basins.MARGIN * LONGEST
    for values, centre in ((found["x"], 1.0), (found["y"], 1.5)):
        assert len(values) == SIDE
        assert values[0].item() == pytest.approx(centre - half, abs=1e-5)
        assert values[-1].item() == pytest.approx(centre + half, abs=1e-5)


def test_the_first_images_that_span_a_plane_are_chosen(monkeypatch):
    monkeypatch.setattr(basins, "SIDE", 4)
    rows = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 5, 0]])
    stored = rows.reshape(4, 1, 2, 2)
    found = FIGURE.arrays(StandIn(FIGURE.ids(), {0: pull(stored, stored)}))
    assert found["chosen"].tolist() == [0, 1, 3]
    on_a_line = StandIn(FIGURE.ids(), {0: pull(stored[:3], stored)})
    message = r"mnist20-fc14x128 has 3 training examples of which no three span"
    with pytest.raises(UnknownCheckpointError, match=message):
        FIGURE.arrays(on_a_line)


@pytest.fixture
def rows(known):
    """Send a row of the grid astray, and list the rows of numbers by their quantities."""
    material, _, found = known
    ends = found["ends"].clone()
    ends[0] = -1
    return index_rows(FIGURE.rows(material, found | {"ends": ends})), Counter(ends.flatten().tolist())


def test_shares_of_the_plane_are_counted(rows):
    row, count = rows
    cells = SIDE**2
    shares = {
        "at one of the three images": count[0] + count[1] + count[2],
        "at another training image": count[3],
        "elsewhere or is undecided": SIDE,
        "at the training image nearest to the start": cells - SIDE,
    }
    for words, points in shares.items():
        assert row[f"share of the plane that ends {words}"].ours == pytest.approx(points / cells)
    own = row["images that lie in their own basin, of the three"]
    assert (own.ours, own.holds) == (3, True)
    assert row["other training images that the plane leads to"].ours == 1
    steps = row["most steps that a start of the plane takes to settle"].ours
    assert 10 < steps < 60  # each step halves the distance, down to the resolution of float32


def test_discs_reach_half_way_to_the_nearest_other_image(rows):
    row, _ = rows
    apart = (3 + 2 * basins.MARGIN * LONGEST) / (SIDE - 1)
    assert row["distance between the points of the grid, L2"].ours == pytest.approx(apart, abs=1e-5)
    for letter, distance in (("A", 2.0), ("B", 2.0), ("C", 3.0)):
        text = row[f"radius of a disc around {letter} all of whose starts end there, L2"].ours
        radius, _, rest = text.partition(" ")
        assert rest == f"(nearest of the other two: {distance:.2f})"
        assert distance / 2 - apart < float(radius) <= distance / 2 + apart


def test_an_image_that_ends_at_another_falls_short(known):
    material, _, found = known
    own = torch.tensor([0, 3, 2])
    first = FIGURE.rows(material, found | {"own": own})[0]
    assert (first.ours, first.holds) == (2, False)


def test_the_plane_is_coloured_by_where_its_points_end(known):
    _, _, found = known
    ends = found["ends"].clone()
    ends[0] = -1
    figure = FIGURE.draw(found | {"ends": ends})
    assert_only_figure(figure)
    (axes,) = figure.axes
    colours = read_pixels(axes)
    for index, colour in enumerate(basins.COLOURS):
        assert (colours[ends == index] == colours.new_tensor(to_rgb(colour))).all()
    assert (colours[ends == -1] == 1).all()
    grey = colours[ends == 3]
    assert (grey == grey[0, 0]).all()
    assert 0 < grey[0, 0] < 1
    (image,) = axes.images
    half = (found["x"][1] - found["x"][0]).item() / 2
    limits = [end for values in (found["x"], found["y"]) for end in (values[0] - half, values[-1] + half)]
    expected = [limit.item() for limit in limits]
    assert image.get_extent() == pytest.approx(expected)
    assert image.origin == "lower"
    assert "along A to B" in axes.get_xlabel()
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["ends at A", "ends at B", "ends at C", "at another", "elsewhere"]


def test_the_three_images_stand_beside_their_points(known):
    _, stored, found = known
    (axes,) = FIGURE.draw(found).axes
    points = torch.tensor([[line.get_xdata()[0], line.get_ydata()[0]] for line in axes.lines])
    torch.testing.assert_close(points, found["positions"], check_dtype=False)
    assert [text.get_text() for text in axes.texts] == ["A", "B", "C"]
    thumbnails = read_thumbnails(axes)[:3]
    for (place, pixels), position, image in zip(thumbnails, found["positions"], stored[:3], strict=True):
        assert place == pytest.approx(tuple(position.tolist()))
        torch.testing.assert_close(pixels, image[0].clamp(0, 1))


def read_other_thumbnails(found, side):
    """Let a square of the plane lead to another image; read the small images that are not those of the three."""
    ends = torch.zeros_like(found["ends"])
    ends[4 : 4 + side, 6 : 6 + side] = 3
    (axes,) = FIGURE.draw(found | {"ends": ends}).axes
    return read_thumbnails(axes)[3:]


def test_another_image_is_shown_in_the_middle_of_its_region(known):
    _, stored, found = known
    ((place, pixels),) = read_other_thumbnails(found, 2 * basins.FITS + 1)
    expected = (found["x"][6 + basins.FITS].item(), found["y"][4 + basins.FITS].item())
    assert place == pytest.approx(expected)
    expected = stored[3, 0].clamp(0, 1)
    torch.testing.assert_close(pixels, expected)


def test_another_image_is_not_shown_where_there_is_no_room(known):
    assert not read_other_thumbnails(known[-1], 2 * basins.FITS - 1)
