"""The figure of timm's backbones with a map in the place of each network."""

import pytest
import torch
from stand_in import SHAPE, assert_only_figure, index_rows, make_material, move_points, pull, read_images
from torch.testing import assert_close

import memzoo
from memzoo.data import gaussian_noise
from memzoo.figures import FIGURES
from memzoo.figures.beyond import timm_backbones

BACKBONES = [memzoo.info(id).config["backbone"] for id in FIGURES["timm"].ids()]
RATES = (0.5, 0.75)


@pytest.fixture
def known():
    """Store other images in each network, and start near them."""
    stored = 5 * torch.rand(3, *SHAPE)
    images = [stored, stored + 1]
    starts = [stored.repeat(20, 1, 1, 1) + shift for shift in (0.01, 0.02)]
    models = {index: pull(images[index], starts[index], rate=rate) for index, rate in enumerate(RATES)}
    return make_material("timm", models), images, starts


def test_orbits_are_named_by_the_backbones_and_end_at_images(known):
    material, images, probes = known
    found = timm_backbones.FIGURE.arrays(material)
    assert list(found) == BACKBONES
    noise = 0.5 + gaussian_noise(1, SHAPE, seed=0) / 4
    for rows, stored, own, rate in zip(found.values(), images, probes, RATES, strict=True):
        starts = torch.cat([own[:1], noise])
        assert_close(rows[:, 0], starts)
        for column, t in enumerate(timm_backbones.TIMES):
            expected = move_points(starts, stored, t, rate)
            assert_close(rows[:, column + 1], expected, atol=1e-4, rtol=0)
        assert_close(rows[:, -1], rows[:, -2], atol=1e-4, rtol=0)  # it has arrived there


def test_rows_have_the_facts_of_each_network(known):
    material, *_ = known
    row = index_rows(timm_backbones.FIGURE.rows(material, {}))
    for name, rate, checkpoint in zip(BACKBONES, RATES, material.names, strict=True):
        assert row[f"{name}: certified attractors"].ours == 3
        radius = row[f"{name}: largest spectral radius at the examples"]
        assert radius.ours == pytest.approx(rate, rel=1e-4)
        assert radius.checkpoint == checkpoint


def test_the_picture_has_a_panel_for_each_backbone():
    drawn = {name: torch.rand(2, len(timm_backbones.TIMES) + 2, *SHAPE) for name in BACKBONES}
    figure = timm_backbones.FIGURE.draw(drawn)
    assert_only_figure(figure)
    assert [panel.get_supylabel() for panel in figure.subfigs] == BACKBONES
    for panel, rows in zip(figure.subfigs, drawn.values(), strict=True):
        assert_close(read_images(panel.axes), rows.flatten(0, 1))
        assert panel.axes[0].get_title() == "start"
        assert panel.axes[5].get_title() == "t = 200"
