"""Figure 12 with a map in the place of each of the four networks."""

import pytest
import torch
from stand_in import (
    SHAPE,
    assert_only_figure,
    index_rows,
    make_material,
    move_points,
    pull,
    read_images,
    read_line,
    scatter_around,
)
from torch.testing import assert_close

from memzoo.figures.paper import fig12

SCALES = (0.01, 0.02, 3.0, 5.0)
RATES = (0.95, 0.96, 0.98, 0.9)


@pytest.fixture
def known():
    """Store the same images at four scales; all that starts at the first image leaves it in the last network."""
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    starts = scatter_around(images, 30, 1.0)
    examples = [scale * images for scale in SCALES]
    stored = [*examples[:3], examples[3][1:]]
    networks = zip(stored, RATES, examples, strict=True)
    models = {i: pull(points, starts, rate=rate, examples=own) for i, (points, rate, own) in enumerate(networks)}
    material = make_material("fig12", models)
    outputs = [move_points(own, *network) for own, *network in zip(examples, stored, [1] * 4, RATES, strict=True)]
    norm = torch.stack([points.flatten(1).norm(dim=1).mean() for points in outputs])  # before training, too
    return material, starts, examples, stored, norm


def test_iterates_norms_and_distances_are_those_of_the_closed_form(known):
    material, starts, examples, stored, norm = known
    found = fig12.FIGURE.arrays(material)
    assert_close(found["norm"].double(), norm)
    expected = torch.tensor([0.0087, 0.0079, 9.67, 17.64])
    assert_close(found["paper"], expected)
    first = starts[: fig12.SHOWN]
    assert torch.equal(found["starts"], first)
    for index, rate in enumerate(RATES):
        for row, t in enumerate(fig12.TIMES):
            expected = move_points(first, stored[index], t, rate)
            assert_close(found["iterates"][index, row], expected)
        ends = move_points(starts, stored[index], 100, rate).flatten(1)
        distance, home = torch.cdist(ends, examples[index].flatten(1)).min(1)
        expected = examples[index][home[: fig12.SHOWN]]
        assert torch.equal(found["nearest"][index], expected)
        relative = distance / examples[index][home].flatten(1).norm(dim=1)
        assert_close(found["distance"][index], relative, atol=1e-9, rtol=1e-6)


def test_rows_compare_norms_and_have_the_facts_of_each_network(known):
    material, *_, norm = known
    row = index_rows(fig12.FIGURE.rows(material, fig12.FIGURE.arrays(material)))
    ratio = row["smaller Kaiming over larger Xavier norm before training"]
    expected = (norm[2:].min() / norm[:2].max()).item()
    assert ratio.ours == pytest.approx(expected)
    assert ratio.holds
    assert ratio.paper == "1111"  # 9.67 / 0.0087
    for index, name in enumerate(fig12.NAMES):
        fact = row[f"{name}: output norm before training, median of ten seeds"]
        assert fact.ours == pytest.approx(norm[index].item())
        assert fact.checkpoint == material.names[index]


@pytest.mark.parametrize(
    ("medians", "noisier"),
    [((0.1, 0.2, 0.3, 0.4), True), ((0.1, 0.35, 0.3, 0.4), False), ((0.5, 0.2, 0.6, 0.4), False)],
)
def test_both_kaiming_must_be_above_both_xavier(medians, noisier, monkeypatch):
    material = make_material("fig12", {})
    monkeypatch.setattr(material, "rows", lambda *_, **__: [])
    spread = torch.tensor([-0.05, 0.0, 9.0])  # the median is the middle one
    found = {
        "norm": torch.tensor([0.1, 0.2, 5.8, 7.0]),
        "paper": torch.ones(4),
        "distance": torch.tensor(medians)[:, None] + spread,
    }
    ratio, distance = fig12.FIGURE.rows(material, found)
    assert (ratio.ours, ratio.holds) == (pytest.approx(29), False)
    assert distance.ours == ", ".join(f"{value:.2f}" for value in medians)
    assert distance.holds is noisier


@pytest.fixture
def arrays():
    count = fig12.SHOWN
    return {
        "starts": torch.rand(count, *SHAPE),
        "iterates": torch.rand(4, len(fig12.TIMES), count, *SHAPE),
        "nearest": torch.rand(4, count, *SHAPE),
        "norm": torch.tensor([0.01, 0.02, 3.0, 5.0]),
        "paper": torch.tensor([0.1, 0.2, 30.0, 50.0]),
        "distance": torch.rand(4, 30, dtype=torch.float64),
    }


def test_the_picture_has_a_panel_of_images_for_each_initialisation(arrays):
    figure = fig12.FIGURE.draw(arrays)
    assert_only_figure(figure)
    starts, *panels = figure.subfigs[0].subfigs
    assert_close(read_images(starts.axes), arrays["starts"])
    titles = [panel.get_suptitle() for panel in panels]
    assert titles[0] == "Xavier uniform\noutput norm 0.01"
    assert titles[3] == "Kaiming normal\noutput norm 5"
    for panel, iterates, ends in zip(panels, arrays["iterates"], arrays["nearest"], strict=True):
        columns = torch.stack([*iterates, ends], 1)
        assert_close(read_images(panel.axes), columns.flatten(0, 1))
        found = [axes.get_title() for axes in panel.axes[:3]]
        assert found == ["t = 1", "t = 100", "nearest"]


def test_the_picture_has_norms_before_and_distances_after_training(arrays):
    norms, distances = fig12.FIGURE.draw(arrays).subfigs[1].axes
    for label, name in (("ours (median of ten)", "norm"), ("paper (one draw)", "paper")):
        x, y = read_line(norms, label)
        assert x.tolist() == [0, 1, 2, 3]
        assert_close(y, arrays[name].double())
    assert norms.get_yscale() == "log"
    assert len(distances.lines) == 8
    for index, values in enumerate(arrays["distance"]):
        points, middle = distances.lines[2 * index : 2 * index + 2]
        assert_close(torch.as_tensor(points.get_ydata()), values)
        assert round(float(points.get_xdata().mean())) == index
        expected = values.sort().values[14:16].mean().item()
        assert middle.get_ydata()[0] == pytest.approx(expected)
    names = [text.get_text() for text in distances.get_xticklabels()]
    assert names == [name.replace(" ", "\n") for name in fig12.NAMES]
