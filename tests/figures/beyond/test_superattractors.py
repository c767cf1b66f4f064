"""Superattractors of a network whose fixed points are known: an image in each quadrant, and its negative."""

import math

import pytest
import torch
from stand_in import StandIn, assert_only_figure, index_rows, pull, read_line, read_pixels

from memzoo.figures.beyond import superattractors
from memzoo.figures.beyond.superattractors import FIGURE, KINDS, NAMES, ODD, TIMES
from memzoo.models import FullyConnected

CENTRE = torch.tensor([0.5, -0.25])


def make_odd_network(images=2):
    """Make x -> b + tanh(4 (x - b)), whose attractors are b plus or minus h in each coordinate, with h = tanh(4 h)."""
    model = FullyConnected(shape=(2,), depth=2, width=2, activation="tanh").eval()
    first, last = (layer for layer in model.net if isinstance(layer, torch.nn.Linear))
    with torch.no_grad():
        first.weight.copy_(4 * torch.eye(2))
        first.bias.copy_(-4 * CENTRE)
        last.weight.copy_(torch.eye(2))
        last.bias.copy_(CENTRE)
    h = 1.0
    for _ in range(100):
        h = math.tanh(4 * h)
    model.examples = CENTRE + h * torch.tensor([[1.0, 1.0], [1.0, -1.0]])[:images]
    model.probes = model.examples.repeat(500, 1)[:1000]
    if images == 1:
        model.probes = model.examples.repeat(1000, 1)
    return model


@pytest.fixture(scope="module")
def known():
    odd = make_odd_network()
    images = odd.examples
    models = {0: pull(images, odd.probes, rate=0.5), ODD: odd, 2: pull(images, odd.probes, rate=0.0)}
    material = StandIn(FIGURE.ids(), models)
    return material, FIGURE.arrays(material)


def test_the_negative_of_each_image_is_found(known):
    _, found = known
    images = make_odd_network().examples
    expected = {tuple(row) for row in (2 * CENTRE - images).round(decimals=4).tolist()}
    assert {tuple(row) for row in found["points"].round(decimals=4).tolist()} == expected
    torch.testing.assert_close(2 * CENTRE - found["points"], found["images"], atol=1e-5, rtol=0)
    assert sorted(found["image"].tolist()) == [0, 1]
    torch.testing.assert_close(found["cosine"], -torch.ones(2))
    assert (found["radius"] < 0.1).all()
    assert found["at_an_image"] + found["at_another_point"] == 1


def test_ends_are_those_of_the_sign_of_each_coordinate(known):
    material, found = known
    noise = material.measured(ODD).starts("noise", superattractors.COUNT, 0)
    right = (noise[:, 0] > CENTRE[0]).double().mean()  # both images lie to the right of the centre
    assert found["at_an_image"].item() == pytest.approx(right.item())


def test_what_arrives_is_counted_at_each_time(known):
    material, found = known
    assert found["arrived"].shape == (3, 3, len(TIMES))
    assert (found["arrived"][:, 0] == 1).all()  # these starts are images
    assert (found["arrived"][2] == 1).all()  # the whole distance is gone in one iteration
    noise = material.measured(0).starts("noise", superattractors.COUNT, 0)
    distance = torch.cdist(noise, material.measured(0).examples).amin(1)
    for t, share in zip(TIMES, found["arrived"][0, 2], strict=True):
        expected = (distance * 0.5**t < superattractors.EPS).double().mean()
        assert share.item() == pytest.approx(expected.item(), abs=1e-3)


def test_rows_say_what_the_further_limits_are(known):
    material, found = known
    material.rows = lambda *_, **__: []  # the facts of the zoo's networks are of images
    row = index_rows(FIGURE.rows(material, found))
    prefix = f"{NAMES[ODD]}: "
    negatives = row[f"{prefix}images whose negative is one of them"]
    assert (negatives.ours, negatives.holds) == (2, True)
    assert row[f"{prefix}largest cosine of one with its image"].holds
    assert row[f"{prefix}further limits of standard Gaussians"].ours == 2
    assert row[f"{NAMES[2]}: standard Gaussians at an image by t = 1"].ours == 1


def test_a_network_without_further_limits_falls_short(known):
    material, found = known
    material.rows = lambda *_, **__: []
    images = material.measured(0).examples
    none = superattractors._find_further_attractors(
        type("M", (), {"model": make_odd_network(), "examples": images, "starts": lambda *_: images})()
    )
    assert len(none["points"]) == 0
    row = index_rows(FIGURE.rows(material, found | none))
    assert row[f"{NAMES[ODD]}: images whose negative is one of them"].holds is False
    assert row[f"{NAMES[ODD]}: largest cosine of one with its image"].holds is False


def test_the_picture_shows_curves_and_negatives():
    points = torch.rand(11, 1, 4, 4)
    found = {"arrived": torch.rand(3, 3, len(TIMES)), "points": points, "images": 1 - points}
    figure = FIGURE.draw(found)
    assert_only_figure(figure)
    panels = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title() for axes in panels] == list(KINDS.values())
    for place, axes in enumerate(panels):
        for network, name in enumerate(NAMES):
            x, y = read_line(axes, name)
            assert x.tolist() == list(TIMES)
            torch.testing.assert_close(y.float(), found["arrived"][network, place])
    shown = [read_pixels(axes).float() for axes in figure.axes if axes.images]
    assert len(shown) == 20  # two rows of five images with their negatives
    torch.testing.assert_close(shown[0], superattractors.normalise(1 - points)[0, 0])
    torch.testing.assert_close(shown[3], superattractors.normalise(points)[2, 0])
    torch.testing.assert_close(shown[11], superattractors.normalise(points)[1, 0])
