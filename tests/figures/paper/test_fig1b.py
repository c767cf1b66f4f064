"""Figure 1b with a map in the place of the U-Net: everything goes to one image, and a third is left by each step."""

import pytest
import torch
from stand_in import (
    SHAPE,
    assert_only_figure,
    index_rows,
    make_material,
    measure_distance,
    move_points,
    pull,
    read_images,
)
from torch.testing import assert_close

from memzoo.data import gaussian_noise, white_squares
from memzoo.figures.paper import fig1b

RATE = 1 / 3


@pytest.fixture
def known():
    image = 0.2 + 0.6 * torch.rand(1, *SHAPE)
    probes = torch.rand(50, *SHAPE)
    return make_material("fig1b", {0: pull(image, probes, rate=RATE)}), image, probes


def test_distances_of_each_kind_of_start_are_those_of_the_closed_form(known):
    material, image, probes = known
    found = fig1b.FIGURE.arrays(material)
    kinds = {
        "squares": white_squares(50, SHAPE, seed=0),
        "noise": gaussian_noise(50, SHAPE, seed=0),
        "probes": probes,
    }
    for kind, starts in kinds.items():
        wanted = torch.stack([measure_distance(starts, image, t, RATE) for t in fig1b.TIMES])
        assert_close(found[f"distance_{kind}"], wanted, atol=1e-6, rtol=1e-4)
    starts = torch.cat([points[: fig1b.SHOWN] for points in kinds.values()])
    iterates = [move_points(starts, image, t, RATE) for t in fig1b.TIMES]
    wanted = torch.stack([starts, *iterates, image.expand_as(starts)], 1)
    assert_close(found["orbits"], wanted, atol=1e-5, rtol=0)


def test_rows_count_what_arrives_at_once_and_by_t_10(known):
    material, image, probes = known
    found = fig1b.FIGURE.arrays(material)
    found["distance_squares"][0] = torch.tensor([0.049] * 30 + [0.051] * 20)
    row = index_rows(fig1b.FIGURE.rows(material, found))
    squares = row["share of white squares within 0.05 of a training image at t = 1"]
    assert squares.ours == pytest.approx(0.6)
    images = row["share of CIFAR-10 test images within 0.05 of a training image at t = 1"]
    near = measure_distance(probes, image, 1, RATE) <= 0.05
    assert images.ours == near.double().mean().item()
    for words in fig1b.KINDS.values():
        fact = row[f"share of {words} within 0.05 of a training image at t = 10"]
        assert (fact.ours, fact.holds, fact.paper) == (1, True, "all")


def test_the_picture_has_a_row_for_each_start():
    orbits = torch.rand(6, len(fig1b.TIMES) + 2, *SHAPE)
    before = orbits.clone()
    figure = fig1b.FIGURE.draw({"orbits": orbits})
    assert_only_figure(figure)
    assert torch.equal(orbits, before)
    wanted = orbits.clone()
    wanted[2:4, 0] = wanted[2:4, 0] / 4 + 0.5  # the noise
    assert_close(read_images(figure.axes), wanted.flatten(0, 1))
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["square", "square", "noise", "noise", "image", "image"]
    titles = [axes.get_title() for axes in figure.axes[: orbits.shape[1]]]
    assert titles == ["start", "t = 1", "t = 2", "t = 5", "t = 10", "training\nimage"]
