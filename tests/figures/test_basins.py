from collections import Counter

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.offsetbox import AnnotationBbox
from stand_in import StandIn, pull, shown

from memzoo.errors import UnknownCheckpointError
from memzoo.figures import Material
from memzoo.figures.beyond import basins
from memzoo.figures.beyond.basins import FIGURE, measure_discs


def arrays(ends, own):
    """A plane of 5 x 5 with three images: A in the middle, B left of it, C at the upper edge."""
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
    found = measure_discs(arrays(ends, [0, 1, 2]))
    assert found[0] == 2
    ends[2, 3] = 7  # another training image, one from A
    assert measure_discs(arrays(ends, [0, 1, 2]))[0] == 1


def test_an_image_outside_of_its_own_basin_has_no_disc():
    ends = torch.zeros(5, 5, dtype=torch.long)
    assert measure_discs(arrays(ends, [3, 1, 2]))[0] == 0


def test_networks_of_another_kind_are_refused():
    for name in ("cifar10-d1", "line2-fc3x50"):
        with pytest.raises(
            UnknownCheckpointError, match=r"mnist20-fc14x128 is a FullyConnected, nonlinear.*cannot take"
        ):
            Material(FIGURE.ids(), [name]).model()


# A map whose basins are known ---------------------------------------------------------------------------------------

SIDE = 20  # even: the borders between the three run between the points of the grid


@pytest.fixture
def known(monkeypatch):
    """Four images, the fourth beside the plane of the first three; every start ends at the nearest."""
    monkeypatch.setattr(basins, "SIDE", SIDE)
    stored = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 3, 0, 0], [3, 3, 0.4, 0]]).reshape(4, 1, 2, 2)
    turned = torch.linalg.qr(torch.randn(4, 4))[0]
    stored = (stored.flatten(1) @ turned).reshape(stored.shape) + 0.3
    material = StandIn(FIGURE.ids(), {0: pull(stored, stored)})
    return material, stored, FIGURE.arrays(material)


def test_every_point_of_the_plane_ends_at_the_image_that_is_nearest_to_it(known):
    _, stored, found = known
    first, second, third = stored[:3].flatten(1).double()
    along = (second - first) / 2  # the lengths and the right angle of the triangle are known
    across = (third - first) / 3
    grid = first + found["x"][None, :, None] * along + found["y"][:, None, None] * across
    squares = (grid[:, :, None] - stored.flatten(1).double()).square().sum(3)
    least = squares.sort(2)
    assert (least.values[..., 1] - least.values[..., 0]).min() > 1e-3  # none lies on a border
    assert torch.equal(found["ends"], least.indices[..., 0])
    assert torch.equal(found["nearest"], found["ends"])
    assert set(found["ends"].unique().tolist()) == {0, 1, 2, 3}
    second_best = torch.where(least.indices[..., 0] == 0, least.values[..., 1], least.values[..., 0])
    torch.testing.assert_close(found["lead"][0], second_best - squares[..., 0], atol=1e-5, rtol=0)


def test_the_picture_holds_the_three_images_and_a_margin(known):
    _, stored, found = known
    triangle = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(found["positions"], triangle, atol=1e-5, rtol=0)
    assert found["chosen"].tolist() == [0, 1, 2]
    assert found["own"].tolist() == [0, 1, 2]
    assert torch.equal(found["images"], stored[:3])
    assert torch.equal(found["others"], stored[3:])
    half = 3 / 2 + basins.MARGIN * 13**0.5  # the longest side of the box, and the longest of the triangle
    for values, centre in ((found["x"], 1.0), (found["y"], 1.5)):
        assert len(values) == SIDE
        assert values[0].item() == pytest.approx(centre - half, abs=1e-5)
        assert values[-1].item() == pytest.approx(centre + half, abs=1e-5)


def test_the_first_images_that_span_a_plane_are_chosen(monkeypatch):
    monkeypatch.setattr(basins, "SIDE", 4)
    stored = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 5, 0]]).reshape(4, 1, 2, 2)
    found = FIGURE.arrays(StandIn(FIGURE.ids(), {0: pull(stored, stored)}))
    assert found["chosen"].tolist() == [0, 1, 3]
    with pytest.raises(
        UnknownCheckpointError, match=r"mnist20-fc14x128 has 3 training examples of which no three span"
    ):
        FIGURE.arrays(StandIn(FIGURE.ids(), {0: pull(stored[:3], stored)}))


def test_shares_of_the_plane_are_counted(known):
    material, _, found = known
    ends = found["ends"].clone()
    ends[0] = -1  # a row of the grid goes astray
    row = {row.quantity: row for row in FIGURE.rows(material, found | {"ends": ends})}
    count = Counter(ends.flatten().tolist())
    cells = SIDE**2
    at_three = sum(count[index] for index in range(3)) / cells
    assert row["share of the plane that ends at one of the three images"].ours == pytest.approx(at_three)
    assert row["share of the plane that ends at another training image"].ours == pytest.approx(count[3] / cells)
    assert row["share of the plane that ends elsewhere or is undecided"].ours == pytest.approx(SIDE / cells)
    nearest = row["share of the plane that ends at the training image nearest to the start"]
    assert nearest.ours == pytest.approx(1 - SIDE / cells)
    assert row["images that lie in their own basin, of the three"].ours == 3
    assert row["images that lie in their own basin, of the three"].holds
    assert row["other training images that the plane leads to"].ours == 1
    apart = (3 + 2 * basins.MARGIN * 13**0.5) / (SIDE - 1)
    assert row["distance between the points of the grid, L2"].ours == pytest.approx(apart, abs=1e-5)
    steps = row["most steps that a start of the plane takes to settle"].ours
    assert 10 < steps < 60  # each step halves the distance, down to the resolution of float32
    for letter, nearest_other in (("A", 2.0), ("B", 2.0), ("C", 3.0)):
        said = row[f"radius of a disc around {letter} all of whose starts end there, L2"].ours
        radius, _, rest = said.partition(" ")
        assert rest == f"(nearest of the other two: {nearest_other:.2f})"
        assert nearest_other / 2 - apart < float(radius) <= nearest_other / 2 + apart  # borders are half-way


def test_an_image_that_ends_at_another_falls_short(known):
    material, _, found = known
    first = FIGURE.rows(material, found | {"own": torch.tensor([0, 3, 2])})[0]
    assert (first.ours, first.holds) == (2, False)


def test_the_plane_is_coloured_by_where_its_points_end(known):
    _, stored, found = known
    ends = found["ends"].clone()
    ends[0] = -1
    ends[-11:, -11:] = 3  # there is room for the image of the fourth in this corner
    figure = FIGURE.draw(found | {"ends": ends})
    assert plt.get_fignums() == [figure.number]
    (axes,) = figure.axes
    colours = shown(axes)
    for index, colour in enumerate(basins.COLOURS):
        expected = torch.tensor(to_rgb(colour), dtype=torch.float64)
        assert (colours[ends == index] == expected).all()
    assert (colours[ends == -1] == 1).all()
    grey = colours[ends == 3]
    assert (grey == grey[0, 0]).all()
    assert 0 < grey[0, 0] < 1
    left, right, bottom, top = axes.images[0].get_extent()
    step = (found["x"][1] - found["x"][0]).item()
    assert (left, right) == pytest.approx((found["x"][0].item() - step / 2, found["x"][-1].item() + step / 2))
    assert (bottom, top) == pytest.approx((found["y"][0].item() - step / 2, found["y"][-1].item() + step / 2))
    assert axes.images[0].origin == "lower"
    points = torch.tensor([[line.get_xdata()[0], line.get_ydata()[0]] for line in axes.lines])
    torch.testing.assert_close(points, found["positions"], check_dtype=False)
    assert [text.get_text() for text in axes.texts] == ["A", "B", "C"]
    thumbnails = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    for box, place, image in zip(thumbnails[:3], found["positions"], stored[:3], strict=True):
        assert box.xy == pytest.approx(tuple(place.tolist()))
        torch.testing.assert_close(torch.tensor(box.offsetbox.get_data()), image[0].clamp(0, 1))
    assert "along A to B" in axes.get_xlabel()
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["ends at A", "ends at B", "ends at C", "at another", "elsewhere"]


@pytest.mark.parametrize("side", [11, 9])
def test_another_image_is_shown_in_the_middle_of_its_region_where_there_is_room(known, side):
    _, stored, found = known
    ends = torch.zeros_like(found["ends"])
    ends[4 : 4 + side, 6 : 6 + side] = 3
    (axes,) = FIGURE.draw(found | {"ends": ends}).axes
    others = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)][3:]
    if side < 2 * basins.FITS + 1:
        assert not others
        return
    (box,) = others
    middle = side // 2
    assert box.xy == pytest.approx((found["x"][6 + middle].item(), found["y"][4 + middle].item()))
    torch.testing.assert_close(torch.tensor(box.offsetbox.get_data()), stored[3, 0].clamp(0, 1))
