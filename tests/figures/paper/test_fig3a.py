"""Figure 3a with maps of two rates, one of whose training images is not stored."""

import pytest
import torch
from stand_in import assert_only_figure, index_rows, make_material, pull, read_line, read_pixels, scatter_around
from torch.testing import assert_close

from memzoo.figures.paper import fig3a


def test_arrivals_and_recovered_images_are_counted_at_each_time():
    stored = 2 * torch.rand(3, 1, 4, 4, dtype=torch.float64)
    examples = torch.cat([stored, stored[:1] + 0.2])  # the fourth is not stored: a start leaves it for the first
    starts = torch.cat([scatter_around(stored[:2], 4, 1.5), examples[3:]])
    rates = (0.9, 0.99, 0.98, 0.95)
    models = {index: pull(stored, starts, rate=rate, examples=examples) for index, rate in enumerate(rates)}
    material = make_material("fig3a", models)
    found = fig3a.FIGURE.arrays(material)
    goal = stored[torch.cdist(starts.flatten(1), stored.flatten(1)).argmin(1)]
    times = torch.arange(fig3a.STEPS + 1, dtype=torch.float64)
    for index, rate in enumerate(rates):
        shares = (rate**times)[:, None, None, None, None]
        orbit = goal + shares * (starts - goal)
        distance = torch.cdist(orbit.flatten(2), examples.flatten(1))
        near = distance < fig3a.EPS
        arrived = near.any(2).double().mean(1)
        assert_close(found["arrived"][index].double(), arrived, atol=1e-6, rtol=0)
        assert near[0, :, 3].any()
        assert not near[-1, :, 3].any()  # the fourth is left again
        recovered = near.any(1).double().mean(1)
        assert_close(found["recovery"][index].double(), recovered, atol=1e-6, rtol=0)
        first = starts[: fig3a.SHOWN]
        home = distance[-1].argmin(1)[: fig3a.SHOWN]
        iterates = [orbit[t, : fig3a.SHOWN] for t in fig3a.TIMES]
        expected = torch.stack([first, *iterates, examples[home]], 1)
        if index < fig3a.WITH_ORBITS:
            assert_close(found["orbits"][index], expected)
    assert len(found["orbits"]) == fig3a.WITH_ORBITS
    looked_up = torch.cdist(starts.flatten(1), examples.flatten(1)).argmin(1)
    assert found["found"].item() == pytest.approx(len(set(looked_up.tolist())) / 4)
    row = index_rows(fig3a.FIGURE.rows(material, found))
    for name in fig3a.NAMES:
        assert row[f"{name}: certified attractors"].ours == 2  # the first shares its limit with the fourth
        assert row[f"{name}: share of test images whose trajectory ends at a training image"].ours == 1
    assert row[f"{fig3a.NAMES[0]}: R_200"].ours == pytest.approx(2 / 4)  # no start goes to the third


def test_the_picture_has_a_curve_for_each_network():
    length = fig3a.STEPS + 1
    found = {
        "orbits": torch.rand(2, 2, len(fig3a.TIMES) + 2, 1, 4, 4),
        "arrived": torch.rand(4, length),
        "recovery": torch.rand(4, length),
        "found": torch.tensor(0.9),
    }
    figure = fig3a.FIGURE.draw(found)
    assert_only_figure(figure)
    images = [read_pixels(axes).float() for axes in figure.axes if axes.images]
    expected = found["orbits"].flatten(0, 2)[:, 0]
    assert_close(torch.stack(images), expected)
    above, below = figure.subfigs
    assert [panel.get_suptitle() for panel in above.subfigs] == list(fig3a.NAMES[: fig3a.WITH_ORBITS])
    labels = [axes.get_ylabel() for axes in below.axes]
    assert labels == ["share of starts\nat a training image", "share of training\nimages reached, $R_t$"]
    for axes, name in zip(below.axes, ("arrived", "recovery"), strict=True):
        assert len(axes.lines) == (5 if name == "recovery" else 4)
        for network, values in zip(fig3a.NAMES, found[name], strict=True):
            x, y = read_line(axes, network)
            assert_close(x, torch.arange(length, dtype=torch.float64))
            assert_close(y, values.double())
    assert below.axes[1].lines[-1].get_ydata() == pytest.approx([0.9, 0.9])
