"""Figure 5b with a map that halves the distance to the nearest of three images in each step."""

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
    read_line,
    scatter_around,
)
from torch.testing import assert_close

from memzoo.data import gaussian_noise
from memzoo.figures.paper import fig5b

RATE = 0.5
FASTER = 0.25  # of the second network
TIMES = (0, *fig5b.FINE)
QUANTITY = f"smallest t of {fig5b.FINE} at which the median of test images is within 1 %"


@pytest.fixture
def known():
    stored = torch.rand(3, *SHAPE)
    probes = scatter_around(stored, 50, 1.0)  # as many as the facts take
    models = {0: pull(stored, probes, rate=RATE), 1: pull(stored, probes, rate=FASTER)}
    return make_material("fig5b", models), stored, probes


def test_distances_and_orbits_are_those_of_the_closed_form(known):
    material, stored, probes = known
    found = fig5b.FIGURE.arrays(material)
    assert found["times"].tolist() == list(TIMES)
    noise = gaussian_noise(fig5b.COUNT, SHAPE, seed=0)
    for kind, starts in (("probes", probes[: fig5b.COUNT]), ("noise", noise)):
        wanted = torch.stack([measure_distance(starts, stored, t, RATE) for t in TIMES])
        assert_close(found[kind], wanted, atol=1e-6, rtol=1e-4)
    first = torch.cat([probes[: fig5b.IMAGES], gaussian_noise(fig5b.NOISE, SHAPE, seed=0)])
    assert torch.equal(found["orbits"][:, 0], first)
    expected = move_points(first, stored, 2, RATE)
    assert_close(found["orbits"][:, 2], expected, atol=1e-6, rtol=0)


def test_a_row_says_when_the_median_is_within_a_hundredth(known):
    material, stored, probes = known
    found = fig5b.FIGURE.arrays(material)
    median = measure_distance(probes[: fig5b.COUNT], stored, 0, RATE).median().item()
    # t steps shrink every distance by RATE^t
    first = next(t for t in TIMES if RATE**t * median <= fig5b.CLOSE)
    row = index_rows(fig5b.FIGURE.rows(material, found))
    assert row[QUANTITY].ours == first
    assert not any("step" in quantity for quantity in row)
    attractors = row["certified attractors"]
    assert (attractors.ours, attractors.holds) == (3, False)  # the paper has ten
    farther = found | {"probes": found["probes"] + 1}
    assert index_rows(fig5b.FIGURE.rows(material, farther))[QUANTITY].ours == "none"


def test_a_second_network_has_its_own_line_and_its_own_first_time(known):
    material, stored, probes = known
    found = fig5b.FIGURE.arrays(material)
    wanted = torch.stack([measure_distance(probes[: fig5b.COUNT], stored, t, FASTER) for t in TIMES])
    assert_close(found[fig5b.SECOND], wanted, atol=1e-6, rtol=1e-4)
    median = wanted[0].median().item()
    first = next(t for t in TIMES if FASTER**t * median <= fig5b.CLOSE)
    rows = index_rows(fig5b.FIGURE.rows(material, found))
    assert rows[f"sigmoid output: {QUANTITY}"].ours == first < rows[QUANTITY].ours
    top = fig5b.FIGURE.draw(found).axes[-2]
    expected = wanted.sort(1).values[:, 14:16].mean(1)
    assert_close(read_line(top, "test images, sigmoid")[1], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("largest", [1.0, 1e4])
def test_the_picture_has_medians_and_shares_of_each_kind(largest):
    times = torch.tensor(TIMES)
    found = {"orbits": torch.rand(6, len(fig5b.TIMES) + 2, *SHAPE), "times": times}
    for kind, *_ in fig5b.KINDS:
        found[kind] = 0.02 * torch.rand(len(times), 30, dtype=torch.float64)
        found[kind][0] *= 50 * largest
    figure = fig5b.FIGURE.draw(found)
    assert_only_figure(figure)
    wanted = found["orbits"].clone()
    wanted[4:, 0] = wanted[4:, 0] / 4 + 0.5
    assert_close(read_images(figure.axes), wanted.flatten(0, 1))
    top, bottom = figure.axes[-2:]
    for kind, label, *_ in fig5b.KINDS:
        x, y = read_line(top, label)
        assert_close(x, times.double())
        expected = found[kind].sort(1).values[:, 14:16].mean(1)
        assert_close(y, expected)
        x, y = read_line(bottom, label)
        assert_close(x, times.double())
        expected = (found[kind] <= 0.01).sum(1) / 30
        assert_close(y, expected, check_dtype=False)
    assert top.get_yscale() == "log"
    assert (top.get_ylim()[1] == fig5b.FAR) == (largest > 1)  # diverging orbits leave the picture
    assert bottom.get_xlabel() == "iterations t"
