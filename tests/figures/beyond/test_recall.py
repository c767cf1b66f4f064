"""Recall of damaged images, of maps that take every point to the nearest image."""

import math

import pytest
import torch
from stand_in import StandIn, assert_only_figure, index_rows, pull, read_line
from torch.testing import assert_close

from memzoo.dynamics import Recall
from memzoo.figures import Material
from memzoo.figures.beyond import recall
from memzoo.figures.beyond.recall import FIGURE, list_parts

NOISE = (0.0, 0.5, 50.0)
AREAS = (0.0, 0.5, 1.0)
LEVEL = torch.tensor([0.0, 0.1, 0.2, 0.5])


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(recall, "NOISE", NOISE)
    monkeypatch.setattr(recall, "AREAS", AREAS)
    monkeypatch.setattr(recall, "DRAWS", 4)


def make_images(count):
    """Make images that are far apart, the first one the darkest."""
    return torch.rand(count, 1, 4, 4) * torch.linspace(1, 20, count)[:, None, None, None]


def test_a_map_to_the_nearest_image_recalls_what_looking_up_does(few):
    counts = [3, 5]
    stored = [make_images(count) for count in counts]
    models = {index: pull(images, images) for index, images in enumerate(stored)}
    found = FIGURE.arrays(StandIn(FIGURE.ids(), models))
    assert found["count"].tolist() == counts
    for index, count in enumerate(counts):
        for kind in ("noise", "mask"):
            rate = found[f"{kind}_{index}_rate"]
            assert_close(rate, found[f"{kind}_{index}_looked_up"])
            confused = found[f"{kind}_{index}_confused"]
            assert_close(rate + confused, torch.ones_like(rate))  # every start ends at an image
            assert rate[0] == 1
        assert found[f"noise_{index}_rate"][-1] < 1  # fifty standard deviations
        assert found[f"noise_{index}_level"].tolist() == list(NOISE)
        assert found[f"mask_{index}_level"][-1] == 1
        assert found[f"mask_{index}_rate"][-1].item() == pytest.approx(1 / count)  # all black: all end at one image


def test_an_orbit_is_recalled_within_the_eps_of_the_facts(few):
    images = make_images(3)
    step = torch.zeros(1, 4, 4)
    step[0, 0, 0] = 1
    near = pull(images + 0.49 * step, images, examples=images)
    far = pull(images + 0.51 * step, images, examples=images)
    found = FIGURE.arrays(StandIn(FIGURE.ids(), {0: near, 1: far}))  # eps is 0.5 for both
    assert found["noise_0_rate"][0] == 1
    assert not found["noise_1_rate"].any()
    assert not found["mask_1_rate"].any()


def test_parts_of_a_curve_are_named():
    level, rate, nearest, confused, looked_up = torch.rand(5, 4, dtype=torch.float64)
    found = list_parts(Recall(level, rate, torch.rand(4, 5), nearest, confused, looked_up, draws=20, steps=3, eps=1.0))
    for name, value in (("level", level), ("rate", rate), ("confused", confused), ("looked_up", looked_up)):
        assert torch.equal(found[name], value)
    # Wilson's interval for 5 images of 20 draws each
    trials = 100
    z = 1.959964
    share = (rate * trials).round() / trials
    # Wilson's interval in its usual form: centre and half width
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    variance = share * (1 - share) / trials + (z / (2 * trials)) ** 2
    half = z * variance.sqrt() / (1 + z**2 / trials)
    assert_close(found["low"], middle - half, atol=1e-6, rtol=0)
    assert_close(found["high"], middle + half, atol=1e-6, rtol=0)


@pytest.fixture
def drawn_arrays():
    """Make curves that tell every part, kind and network apart."""
    rates = {
        ("noise", 0): ([1.0, 0.96, 0.5, 0.1], [1.0, 0.9, 0.6, 0.4]),
        ("noise", 1): ([0.9, 0.8, 0.7, 0.2], [1.0, 1.0, 0.1, 0.1]),
        ("mask", 0): ([1.0, 1.0, 1.0, 1.0], [1.0, 0.45, 0.4, 0.3]),
        ("mask", 1): ([1.0, 0.4, 0.9, 0.3], [1.0, 0.8, 0.5, 0.49]),
    }
    found = {"count": torch.tensor([20, 100])}
    for (kind, index), (rate, looked_up) in rates.items():
        rate = torch.tensor(rate, dtype=torch.float64)
        parts = {
            "level": LEVEL + index,
            "rate": rate,
            "low": 0.9 * rate,
            "high": 0.9 * rate + 0.1,
            "confused": (1 - rate) / 4,
            "looked_up": torch.tensor(looked_up, dtype=torch.float64),
        }
        found |= {f"{kind}_{index}_{name}": value for name, value in parts.items()}
    return found


def test_rows_say_how_much_damage_the_recall_stands(drawn_arrays):
    row = index_rows(FIGURE.rows(Material(FIGURE.ids()), drawn_arrays))
    assert len(row) == 26
    noise = "noise, standard deviation, up to which at least"
    mask = "masked share of the area up to which at least"
    expected = {
        f"20 images: {noise} 95 % is recalled": 0.1,
        f"20 images: {noise} half is recalled": 0.2,
        f"20 images: {noise} half is found by look-up": 0.2,
        f"100 images: {noise} 95 % is recalled": math.nan,
        f"100 images: {noise} half is recalled": 1.2,
        f"100 images: {noise} half is found by look-up": 1.1,
        f"20 images: {mask} half is recalled": 0.5,
        f"20 images: {mask} half is found by look-up": 0.0,
        f"100 images: {mask} half is recalled": 1.0,  # what comes back later does not count
        "20 images: largest lead of recall over look-up, noise": 0.06,
        "20 images: largest lead of look-up over recall, noise": 0.3,
        "20 images: largest lead of look-up over recall, mask": 0.0,
        "100 images: largest lead of recall over look-up, mask": 0.4,
        "20 images: lost starts that end at another training image, noise": 0.25,
        "20 images: lost starts that end at another training image, mask": math.nan,  # none is lost
    }
    for quantity, value in expected.items():
        assert row[quantity].ours == pytest.approx(value, nan_ok=True), quantity
        index = 0 if quantity.startswith("20 ") else 1
        assert row[quantity].checkpoint == FIGURE.ids()[index]
    whole = [row[f"{count} images: recall without damage"] for count in (20, 100)]
    found = [(one.ours, one.holds) for one in whole]
    assert found == [(1.0, True), (0.9, False)]


def test_each_panel_draws_its_kind_of_damage(drawn_arrays):
    figure = FIGURE.draw(drawn_arrays)
    assert_only_figure(figure)
    left, right = figure.axes
    assert left.get_xlabel().startswith("standard deviation of the noise")
    assert right.get_xlabel().startswith("masked share of the area")
    assert left.get_ylabel() == "share recalled"
    for axes, kind in ((left, "noise"), (right, "mask")):
        assert len(axes.lines) == 4
        for index, count in enumerate((20, 100)):
            level = drawn_arrays[f"{kind}_{index}_level"].double()
            for part, words in (("rate", "iterated"), ("looked_up", "looked up")):
                x, y = read_line(axes, f"{count} images, {words}")
                assert_close(x, level)
                assert_close(y, drawn_arrays[f"{kind}_{index}_{part}"])
            corners = torch.tensor(axes.collections[index].get_paths()[0].vertices)
            for part in ("low", "high"):
                edge = torch.stack([level, drawn_arrays[f"{kind}_{index}_{part}"]], 1)
                assert (torch.cdist(edge, corners).amin(1) < 1e-9).all()
    assert len(right.get_legend().get_texts()) == 4
