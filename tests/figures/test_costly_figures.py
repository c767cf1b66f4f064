"""Figures whose checkpoints take too long for a test, made of maps whose orbits are known."""

import matplotlib.pyplot as plt
import pytest
import torch
from stand_in import Linear, StandIn, far_from, line_of, moved, pull, shown
from torch.testing import assert_close

import memzoo
from memzoo.data import gaussian_noise, white_squares
from memzoo.errors import UnknownCheckpointError
from memzoo.figures import FIGURES
from memzoo.figures.beyond import timm_backbones
from memzoo.figures.paper import fig1b, fig2, fig3a, fig5b, fig6, fig8, fig12

SHAPE = (3, 4, 4)


def material(name, models):
    """The figure's own facts and claims, of other networks."""
    return StandIn(FIGURES[name].ids(), models, FIGURES[name].claims)


def by_quantity(rows):
    found = {row.quantity: row for row in rows}
    assert len(found) == len(rows)
    return found


def near_to(stored, count, size=0.3):
    """Points beside the stored images, one after the other."""
    rows = stored[torch.arange(count) % len(stored)]
    return rows + size * torch.randn_like(rows) / stored[0].numel() ** 0.5


def pixels(axes_of_figure):
    """What is shown, as channels first; empty axes are left out."""
    return [shown(axes).permute(2, 0, 1).float() for axes in axes_of_figure if axes.images]


def assert_only(figure):
    assert plt.get_fignums() == [figure.number]


# Figure 1b ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_image():
    """A single image that everything goes to: each step leaves a third of the distance."""
    image = 0.2 + 0.6 * torch.rand(1, *SHAPE)
    probes = torch.rand(50, *SHAPE)
    return material("fig1b", {0: pull(image, probes, rate=1 / 3)}), image, probes


def test_figure_1b_measures_each_kind_of_start_at_each_time(one_image):
    given, image, probes = one_image
    found = fig1b.FIGURE.arrays(given)
    kinds = {
        "squares": white_squares(50, SHAPE, seed=0),
        "noise": gaussian_noise(50, SHAPE, seed=0),
        "probes": probes,
    }
    for kind, starts in kinds.items():
        wanted = torch.stack([far_from(starts, image, t, 1 / 3) for t in fig1b.TIMES])
        assert_close(found[f"distance_{kind}"], wanted, atol=1e-6, rtol=1e-4)
    starts = torch.cat([points[: fig1b.SHOWN] for points in kinds.values()])
    columns = [starts, *(moved(starts, image, t, 1 / 3) for t in fig1b.TIMES), image.expand_as(starts)]
    assert_close(found["orbits"], torch.stack(columns, 1), atol=1e-5, rtol=0)


def test_figure_1b_counts_what_arrives_at_once_and_by_t_10(one_image):
    given, image, probes = one_image
    found = fig1b.FIGURE.arrays(given)
    found["distance_squares"][0] = torch.tensor([0.049] * 30 + [0.051] * 20)
    row = by_quantity(fig1b.FIGURE.rows(given, found))
    assert row["share of white squares within 0.05 of a training image at t = 1"].ours == pytest.approx(0.6)
    at_once = (far_from(probes, image, 1, 1 / 3) <= 0.05).double().mean().item()
    assert row["share of CIFAR-10 test images within 0.05 of a training image at t = 1"].ours == at_once
    for words in fig1b.KINDS.values():
        fact = row[f"share of {words} within 0.05 of a training image at t = 10"]
        assert (fact.ours, fact.holds, fact.paper) == (1, True, "all")


def test_figure_1b_shows_a_row_a_start():
    rows = torch.rand(6, len(fig1b.TIMES) + 2, *SHAPE)
    before = rows.clone()
    figure = fig1b.FIGURE.draw({"orbits": rows})
    assert_only(figure)
    assert torch.equal(rows, before)
    wanted = rows.clone()
    wanted[2:4, 0] = wanted[2:4, 0] / 4 + 0.5  # the noise
    assert_close(torch.stack(pixels(figure.axes)), wanted.flatten(0, 1))
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["square", "square", "noise", "noise", "image", "image"]
    titles = [axes.get_title() for axes in figure.axes[: rows.shape[1]]]
    assert titles == ["start", "t = 1", "t = 2", "t = 5", "t = 10", "training\nimage"]


# Figure 2 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roll():
    """Points in space: four of five are stored, each from starts of its own but for the last; one start is far off."""
    stored = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5]], dtype=torch.float64)
    examples = torch.cat([stored, stored.new_tensor([[0.4, 0.4, 0]])])
    starts = torch.cat([near_to(stored[:3], 6), stored.new_tensor([[-1e5, 0, 0]])])
    return material("fig2", {0: pull(stored, starts, rate=0.99, examples=examples)}), stored, examples, starts


def test_figure_2_follows_the_points_to_where_they_end(roll):
    given, stored, examples, starts = roll
    found = fig2.FIGURE.arrays(given)
    wanted = torch.stack([moved(starts, stored, t, 0.99) for t in fig2.TIMES])
    assert_close(found["points"], wanted)
    assert torch.equal(found["examples"], examples)
    assert found["attractor"].tolist() == [False, True, True, True, False]  # the first shares its limit with the last
    assert found["home"].tolist() == [True] * 6 + [False]  # 1e5 * 0.99^1111 > 0.05
    assert found["reached"].tolist() == [True, True, True, False, False]


def test_figure_2_reports_its_facts_and_how_many_points_are_reached(roll):
    given, stored, _, starts = roll
    row = by_quantity(fig2.FIGURE.rows(given, fig2.FIGURE.arrays(given)))
    assert row["training points where one of the starts ends by t = 1111"].ours == 3
    assert (row["certified attractors"].ours, row["certified attractors"].holds) == (3, False)
    size = torch.cdist(starts, stored).amin(1)
    for t, quantity in ((11, "share at t = 11"), (111, "share at t = 111")):
        wanted = (0.99**t * size < fig2.EPS).double().mean().item()
        assert row[quantity].ours == pytest.approx(wanted)
    assert row["training loss"].ours == pytest.approx(2 * (0.01 * 0.4) ** 2 / 15)  # of the example that is not stored


def test_figure_2_refuses_images():
    image = torch.rand(1, *SHAPE)
    with pytest.raises(
        UnknownCheckpointError, match=r"maps points of shape \(3, 4, 4\), and this figure shows points of"
    ):
        fig2.FIGURE.arrays(material("fig2", {0: pull(image, image)}))


def test_figure_2_shows_the_points_in_space_and_along_the_roll():
    points = torch.rand(4, 5, 3)
    examples = torch.rand(3, 3)
    home = torch.tensor([True, True, True, False, True])
    attractor = torch.tensor([True, False, True])
    figure = fig2.FIGURE.draw({"points": points, "examples": examples, "attractor": attractor, "home": home})
    assert_only(figure)
    assert len(figure.axes) == 8
    for column, t in enumerate(fig2.TIMES):
        space, plane = figure.axes[2 * column : 2 * column + 2]
        assert space.get_title() == f"t = {t}"
        here = home if column == 3 else torch.ones(5, dtype=torch.bool)
        groups = (examples[attractor], examples[~attractor], points[column, here], points[column, ~here])
        for drawn, group in zip(plane.collections, groups, strict=True):
            assert_close(torch.tensor(drawn.get_offsets().data).float(), group[:, [0, 2]])
        for drawn, group in zip(space.collections, groups, strict=True):
            for values, axis in zip(drawn._offsets3d, group.unbind(1), strict=True):
                assert_close(torch.as_tensor(values).float(), axis)
        labels = [drawn.get_label() for drawn in plane.collections]
        assert labels[0] == "training point, attractor"
        assert labels[3] == "start that has not arrived"
    assert [axes.get_ylabel() for axes in figure.axes[1::2]] == ["z", "", "", ""]
    assert len(figure.legends[0].get_texts()) == 4


# Figure 3a ----------------------------------------------------------------------------------------------------------


def test_figure_3a_counts_arrivals_and_recovered_images_at_each_time():
    stored = 2 * torch.rand(3, 1, 4, 4, dtype=torch.float64)
    examples = torch.cat([stored, stored[:1] + 0.2])  # the fourth is not stored: a start leaves it for the first
    starts = torch.cat([near_to(stored[:2], 4, 1.5), examples[3:]])
    rates = (0.9, 0.99)
    models = {index: pull(stored, starts, rate=rate, examples=examples) for index, rate in enumerate(rates)}
    given = material("fig3a", models)
    found = fig3a.FIGURE.arrays(given)
    goal = stored[torch.cdist(starts.flatten(1), stored.flatten(1)).argmin(1)]
    for index, rate in enumerate(rates):
        shares = rate ** torch.arange(fig3a.STEPS + 1, dtype=torch.float64)
        orbit = goal + shares[:, None, None, None, None] * (starts - goal)
        near = torch.cdist(orbit.flatten(2), examples.flatten(1)) < fig3a.EPS
        assert_close(found["arrived"][index].double(), near.any(2).double().mean(1), atol=1e-6, rtol=0)
        recovered = near.any(1).double().mean(1)
        assert near[0, :, 3].any()
        assert not near[-1, :, 3].any()  # the fourth is left again
        assert_close(found["recovery"][index].double(), recovered, atol=1e-6, rtol=0)
        first = starts[: fig3a.SHOWN]
        home = torch.cdist(orbit[-1].flatten(1), examples.flatten(1)).argmin(1)[: fig3a.SHOWN]
        columns = [first, *(orbit[t, : fig3a.SHOWN] for t in fig3a.TIMES), examples[home]]
        assert_close(found["orbits"][index], torch.stack(columns, 1))
    row = by_quantity(fig3a.FIGURE.rows(given, found))
    for name in fig3a.NAMES:
        assert row[f"{name}: certified attractors"].ours == 2  # the first shares its limit with the fourth
        assert row[f"{name}: share of test images whose trajectory ends at a training image"].ours == 1
    assert row[f"{fig3a.NAMES[0]}: R_200"].ours == pytest.approx(2 / 4)  # no start goes to the third


def test_figure_3a_draws_a_curve_for_each_network():
    length = fig3a.STEPS + 1
    found = {
        "orbits": torch.rand(2, 2, len(fig3a.TIMES) + 2, 1, 4, 4),
        "arrived": torch.rand(2, length),
        "recovery": torch.rand(2, length),
    }
    figure = fig3a.FIGURE.draw(found)
    assert_only(figure)
    images = [shown(axes).float() for axes in figure.axes if axes.images]
    assert_close(torch.stack(images), found["orbits"].flatten(0, 2)[:, 0])
    above, below = figure.subfigs
    assert [panel.get_suptitle() for panel in above.subfigs] == list(fig3a.NAMES)
    labels = [axes.get_ylabel() for axes in below.axes]
    assert labels == ["share of starts\nat a training image", "share of training\nimages reached, $R_t$"]
    for axes, name in zip(below.axes, ("arrived", "recovery"), strict=True):
        assert len(axes.lines) == 2
        for network, values in zip(fig3a.NAMES, found[name], strict=True):
            x, y = line_of(axes, network)
            assert_close(x, torch.arange(length, dtype=torch.float64))
            assert_close(y, values.double())


# Figure 5b ----------------------------------------------------------------------------------------------------------


def test_figure_5b_says_when_the_median_is_within_a_hundredth():
    stored = torch.rand(3, *SHAPE)
    probes = near_to(stored, 30, 1.0)
    given = material("fig5b", {0: pull(stored, probes, rate=0.5)})
    found = fig5b.FIGURE.arrays(given)
    times = (0, *fig5b.FINE)
    noise = gaussian_noise(fig5b.COUNT, SHAPE, seed=0)
    assert found["times"].tolist() == list(times)
    for kind, starts in (("probes", probes), ("noise", noise)):
        wanted = torch.stack([far_from(starts, stored, t, 0.5) for t in times])
        assert_close(found[kind], wanted, atol=1e-6, rtol=1e-4)
    shown_first = torch.cat([probes[: fig5b.IMAGES], gaussian_noise(fig5b.NOISE, SHAPE, seed=0)])
    assert torch.equal(found["orbits"][:, 0], shown_first)
    assert_close(found["orbits"][:, 2], moved(shown_first, stored, 2, 0.5), atol=1e-6, rtol=0)

    half = far_from(probes, stored, 0, 0.5).median().item()
    first = next(t for t in times if 0.5**t * half <= fig5b.CLOSE)
    quantity = f"smallest t of {fig5b.FINE} at which the median of test images is within 1 %"
    made = fig5b.FIGURE.rows(given, found)
    row = by_quantity(made)
    assert row[quantity].ours == first
    assert not any("step" in row.quantity for row in made)
    assert (row["certified attractors"].ours, row["certified attractors"].holds) == (3, False)  # of the paper's ten
    assert by_quantity(fig5b.FIGURE.rows(given, found | {"probes": found["probes"] + 1}))[quantity].ours == "none"


@pytest.mark.parametrize("largest", [1.0, 1e4])
def test_figure_5b_draws_medians_and_shares_of_each_kind(largest):
    times = torch.tensor((0, *fig5b.FINE))
    found = {"orbits": torch.rand(6, len(fig5b.TIMES) + 2, *SHAPE), "times": times}
    for kind, *_ in fig5b.KINDS:
        found[kind] = 0.02 * torch.rand(len(times), 30, dtype=torch.float64)
        found[kind][0] *= 50 * largest
    figure = fig5b.FIGURE.draw(found)
    assert_only(figure)
    wanted = found["orbits"].clone()
    wanted[4:, 0] = wanted[4:, 0] / 4 + 0.5
    assert_close(torch.stack(pixels(figure.axes)), wanted.flatten(0, 1))
    top, bottom = figure.axes[-2:]
    for kind, label, *_ in fig5b.KINDS:
        x, y = line_of(top, label)
        middle = found[kind].sort(1).values[:, 14:16].mean(1)
        assert_close(x, times.double())
        assert_close(y, middle)
        x, y = line_of(bottom, label)
        assert_close(x, times.double())
        assert_close(y, (found[kind] <= 0.01).sum(1) / 30, check_dtype=False)
    assert top.get_yscale() == "log"
    assert (top.get_ylim()[1] == fig5b.FAR) == (largest > 1)  # diverging orbits leave the picture
    assert bottom.get_xlabel() == "iterations t"


# Figure 6 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def course():
    """Early all images go to their mean; later each to a point one away from it; at the end each is stored."""
    final = 3 * torch.rand(4, *SHAPE, dtype=torch.float64)
    step = torch.zeros(SHAPE, dtype=torch.float64)
    step[0, 0, 0] = 1
    stored = {500: final.mean(0, keepdim=True), 5000: final + step, None: final}
    models = {(0, at): pull(points, final, rate=0.25, examples=final) for at, points in stored.items()}
    return material("fig6", models), final, stored


def test_figure_6_finds_where_the_images_end_after_each_step(course):
    given, final, stored = course
    found = fig6.FIGURE.arrays(given)
    assert torch.equal(found["examples"], final)
    assert found["epoch"].tolist() == [100, 1000, 4000]
    mean = stored[500].expand_as(final)
    limits = torch.stack([mean, stored[5000], final])
    assert_close(found["limits"], limits)
    assert_close(found["outputs"], limits + 0.25 * (final - limits))
    assert_close(found["offset"].double(), (final - limits).flatten(2).norm(dim=2))
    assert_close(found["radius"].double(), torch.full((3, 4), 0.25, dtype=torch.float64))
    assert found["limit_of"].tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert found["attracts"].all()  # the mean, too, although no image has it for its own

    row = by_quantity(fig6.FIGURE.rows(given, found))
    for epoch, said in ((100, "1 of 1"), (1000, "4 of 4"), (4000, "4 of 4")):
        made = row[f"epoch {epoch}: limits of the training images that attract"]
        assert (made.ours, made.holds) == (said, True)
    gap = 0.25 * (final - mean).flatten(1).norm(dim=1)
    distance = row["epoch 100: median distance of outputs from these limits, L2"].ours
    assert distance == pytest.approx(gap.median().item())
    assert row["epoch 1000: median distance of outputs from these limits, L2"].ours == pytest.approx(0.25)
    assert row["certified attractors (step 500)"].ours == 0
    assert row["certified attractors (step 5000)"].ours == 4
    assert row["median distance of these from their images, L2 (step 5000)"].ours == pytest.approx(1)
    assert not any(quantity == "certified attractors" for quantity in row)


def test_figure_6_limits_that_do_not_attract_fall_short():
    images = torch.rand(3, *SHAPE, dtype=torch.float64)
    still = pull(images, images, rate=1.0)  # every point is a fixed point
    given = material("fig6", {(0, step): still for step in fig6.STEPS})
    row = by_quantity(fig6.FIGURE.rows(given, fig6.FIGURE.arrays(given)))
    made = row["epoch 100: limits of the training images that attract"]
    assert (made.ours, made.holds) == ("0 of 3", False)


def test_figure_6_names_the_limits_below_the_images():
    found = {
        "examples": torch.rand(3, *SHAPE),
        "epoch": torch.tensor([100, 1000, 4000]),
        "outputs": torch.rand(3, 3, *SHAPE),
        "limits": torch.rand(3, 3, *SHAPE),
        "offset": torch.tensor([[12.34, 5.0, 2.0], [0.25, 0.5, 0.75], [0.01, 0.02, 0.03]]),
        "radius": torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        "limit_of": torch.tensor([[0, 0, 2], [0, 1, 2], [0, 1, 1]]),
        "attracts": torch.tensor([[True, True, False], [True, True, True], [False, True, True]]),
    }
    figure = fig6.FIGURE.draw(found)
    assert_only(figure)
    images = [found["examples"]]
    for index in range(3):
        images += [found["outputs"][index], found["limits"][index]]
    assert_close(torch.stack(pixels(figure.axes)), torch.cat(images))
    below = [[axes.get_xlabel() for axes in figure.axes[3 * row : 3 * row + 3]] for row in range(7)]
    assert below[2] == ["a*  12.3\n$\\rho$ = 0.50", "a*  5.0\n$\\rho$ = 0.50", "b  2.0\n$\\rho$ = 0.90"]
    assert below[4][2] == "c*  0.75\n$\\rho$ = 0.30"
    assert [text[:2] for text in below[6]] == ["a ", "b*", "b*"]
    assert not any(below[0] + below[1] + below[3] + below[5])
    labels = [figure.axes[3 * row].get_ylabel() for row in range(7)]
    assert labels[0] == "training image"
    assert labels[3:5] == ["epoch 1000\noutput", "epoch 1000\nlimit"]


# Figure 8 -----------------------------------------------------------------------------------------------------------


def linear(image, second):
    """Eigenvalue 1 at the image, ``second`` at all that is orthogonal to it."""
    x = image.flatten().double()
    along = torch.outer(x, x) / x.dot(x)
    model = Linear(along + second * (torch.eye(len(x), dtype=torch.float64) - along), SHAPE).eval()
    model.examples, model.probes = image.double(), image.double()
    return model


def test_figure_8_finds_the_multiples_of_the_image_and_the_spectrum():
    image = torch.rand(1, *SHAPE)
    given = material("fig8", {0: linear(image, 1e-6)})
    found = fig8.FIGURE.arrays(given)
    noise = gaussian_noise(fig8.SHOWN, SHAPE, seed=0)
    x = image.flatten()
    multiple = noise.flatten(1) @ x / x.dot(x)
    assert_close(found["multiple"].float(), multiple)
    assert_close(found["noise_outputs"], multiple[:, None, None, None] * image, atol=1e-4, rtol=0)
    assert torch.equal(found["noise"], noise)
    assert_close(found["reproduced"], image.double())
    wanted = torch.full((48,), 1e-6, dtype=torch.float64)
    wanted[0] = 1
    assert_close(found["eigenvalues"].double(), wanted, atol=1e-12, rtol=1e-6)
    row = by_quantity(fig8.FIGURE.rows(given, found))
    spectrum = row["spectrum of the linear operator"]
    assert spectrum.ours in ("1, [< 1e-6]", "1, [< 2e-6]")  # rounded up to one digit
    assert spectrum.holds
    assert row["second eigenvalue"].holds


@pytest.mark.parametrize(("scale", "second"), [(1.0, 8e-6), (1.02, 1e-6)])
def test_figure_8_spectra_beyond_the_bracket_fall_short(scale, second):
    model = linear(torch.rand(1, *SHAPE), second)
    model.matrix *= scale
    given = material("fig8", {0: model})
    assert fig8.FIGURE.rows(given, {})[0].holds is False


def test_figure_8_shows_image_outputs_and_spectrum():
    found = {
        "examples": torch.rand(1, *SHAPE),
        "reproduced": torch.rand(1, *SHAPE),
        "noise": torch.rand(3, *SHAPE),
        "noise_outputs": torch.randn(3, *SHAPE),
        "multiple": torch.tensor([0.5, -1.25, 2.0]),
        "eigenvalues": torch.tensor([1.0, 1e-6, 1e-20]),
    }
    figure = fig8.FIGURE.draw(found)
    assert_only(figure)
    first, output, *grid, spectrum = figure.axes
    assert (first.get_title(), output.get_title()) == ("training image", "output")
    out = found["noise_outputs"].flatten(1)
    low, high = out.amin(1, keepdim=True), out.amax(1, keepdim=True)
    stretched = ((out - low) / (high - low)).reshape(3, *SHAPE)
    wanted = torch.cat([found["examples"], found["reproduced"], found["noise"] / 4 + 0.5, stretched])
    assert_close(torch.stack(pixels([first, output, *grid])), wanted)
    assert [axes.get_title() for axes in grid] == [
        "",
        "",
        "",
        *(rf"${m}\,\times$ image" for m in ("0.50", "-1.25", "2.00")),
    ]
    assert [axes.get_ylabel() for axes in grid if axes.get_ylabel()] == ["Gaussian input", "output (rescaled)"]
    assert spectrum.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert spectrum.lines[0].get_ydata() == pytest.approx([1, 1e-6, 1e-18])
    assert set(spectrum.lines[1].get_ydata()) == {fig8.BOUND}
    assert spectrum.get_yscale() == "log"


# Figure 12 ----------------------------------------------------------------------------------------------------------


def test_figure_12_compares_norms_before_and_distances_after():
    scale = (0.01, 0.02, 3.0, 5.0)
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    starts = near_to(images, 30, 1.0)
    rates = (0.95, 0.96, 0.98, 0.9)
    examples = [size * images for size in scale]
    stored = [*examples[:3], examples[3][1:]]  # all that starts at the first image leaves it in the last network
    models = {i: pull(stored[i], starts, rate=rates[i], examples=examples[i]) for i in range(4)}
    given = material("fig12", models)
    found = fig12.FIGURE.arrays(given)
    outputs = [moved(examples[index], stored[index], 1, rates[index]) for index in range(4)]  # also before training
    norm = torch.stack([points.flatten(1).norm(dim=1).mean() for points in outputs])
    assert_close(found["norm"].double(), norm)
    assert_close(found["paper"], torch.tensor([0.0087, 0.0079, 9.67, 17.64]))
    first = starts[: fig12.SHOWN]
    assert torch.equal(found["starts"], first)
    for index in range(4):
        for row, t in enumerate(fig12.TIMES):
            assert_close(found["iterates"][index, row], moved(first, stored[index], t, rates[index]))
        ends = moved(starts, stored[index], 100, rates[index]).flatten(1)
        distance, home = torch.cdist(ends, examples[index].flatten(1)).min(1)
        assert torch.equal(found["nearest"][index], examples[index][home[: fig12.SHOWN]])
        relative = distance / examples[index][home].flatten(1).norm(dim=1)
        assert_close(found["distance"][index], relative, atol=1e-9, rtol=1e-6)

    made = fig12.FIGURE.rows(given, found)
    row = by_quantity(made)
    ratio = row["smaller Kaiming over larger Xavier norm before training"]
    assert (ratio.ours, ratio.holds) == (pytest.approx((norm[2:].min() / norm[:2].max()).item()), True)
    assert ratio.paper == "1111"  # 9.67 / 0.0087
    for index, name in enumerate(fig12.NAMES):
        fact = row[f"{name}: output norm before training, median of ten seeds"]
        assert fact.ours == pytest.approx(norm[index].item())
        assert fact.checkpoint == given.names[index]


@pytest.mark.parametrize(
    ("medians", "noisier"),
    [((0.1, 0.2, 0.3, 0.4), True), ((0.1, 0.35, 0.3, 0.4), False), ((0.5, 0.2, 0.6, 0.4), False)],
)
def test_figure_12_asks_both_kaiming_above_both_xavier(medians, noisier, monkeypatch):
    given = material("fig12", {})
    monkeypatch.setattr(given, "rows", lambda *_, **__: [])
    spread = torch.tensor([-0.05, 0.0, 9.0])  # the median is the middle one
    found = {
        "norm": torch.tensor([0.1, 0.2, 5.8, 7.0]),
        "paper": torch.ones(4),
        "distance": torch.tensor(medians)[:, None] + spread,
    }
    ratio, distance = fig12.FIGURE.rows(given, found)
    assert (ratio.ours, ratio.holds) == (pytest.approx(29), False)
    assert distance.ours == ", ".join(f"{value:.2f}" for value in medians)
    assert distance.holds is noisier


def test_figure_12_shows_a_panel_an_initialisation():
    count = fig12.SHOWN
    found = {
        "starts": torch.rand(count, *SHAPE),
        "iterates": torch.rand(4, len(fig12.TIMES), count, *SHAPE),
        "nearest": torch.rand(4, count, *SHAPE),
        "norm": torch.tensor([0.01, 0.02, 3.0, 5.0]),
        "paper": torch.tensor([0.1, 0.2, 30.0, 50.0]),
        "distance": torch.rand(4, 30, dtype=torch.float64),
    }
    figure = fig12.FIGURE.draw(found)
    assert_only(figure)
    above, below = figure.subfigs
    starts, *panels = above.subfigs
    assert_close(torch.stack(pixels(starts.axes)), found["starts"])
    titles = [panel.get_suptitle() for panel in panels]
    assert titles[0] == "Xavier uniform\noutput norm 0.01"
    assert titles[3] == "Kaiming normal\noutput norm 5"
    for index, panel in enumerate(panels):
        columns = torch.stack([*found["iterates"][index], found["nearest"][index]], 1)
        assert_close(torch.stack(pixels(panel.axes)), columns.flatten(0, 1))
        assert [axes.get_title() for axes in panel.axes[:3]] == ["t = 1", "t = 100", "nearest"]
    left, right = below.axes
    for label, name in (("ours (median of ten)", "norm"), ("paper (one draw)", "paper")):
        x, y = line_of(left, label)
        assert x.tolist() == [0, 1, 2, 3]
        assert_close(y, found[name].double())
    assert left.get_yscale() == "log"
    assert len(right.lines) == 8
    for index in range(4):
        points, middle = right.lines[2 * index : 2 * index + 2]
        assert_close(torch.as_tensor(points.get_ydata()), found["distance"][index])
        assert round(float(points.get_xdata().mean())) == index
        assert middle.get_ydata()[0] == pytest.approx(found["distance"][index].sort().values[14:16].mean().item())
    assert [text.get_text() for text in right.get_xticklabels()] == [name.replace(" ", "\n") for name in fig12.NAMES]


# Backbones of timm --------------------------------------------------------------------------------------------------


def test_backbones_are_shown_by_their_names():
    backbones = [memzoo.info(id).config["backbone"] for id in FIGURES["timm"].ids()]
    models, stored = {}, 5 * torch.rand(3, *SHAPE)
    for index in range(2):
        models[index] = pull(stored + index, stored.repeat(20, 1, 1, 1) + 0.01 * (1 + index), rate=0.5 + index / 4)
    given = material("timm", models)
    found = timm_backbones.FIGURE.arrays(given)
    assert list(found) == backbones
    noise = 0.5 + gaussian_noise(1, SHAPE, seed=0) / 4
    for index, rows in enumerate(found.values()):
        starts = torch.cat([models[index].probes[:1], noise])
        assert_close(rows[:, 0], starts)
        for column, t in enumerate(timm_backbones.TIMES):
            wanted = moved(starts, stored + index, t, 0.5 + index / 4)
            assert_close(rows[:, column + 1], wanted, atol=1e-4, rtol=0)
        assert_close(rows[:, -1], rows[:, -2], atol=1e-4, rtol=0)  # it has arrived there
    row = by_quantity(timm_backbones.FIGURE.rows(given, found))
    for index, name in enumerate(backbones):
        assert row[f"{name}: certified attractors"].ours == 3
        radius = row[f"{name}: largest spectral radius at the examples"]
        assert radius.ours == pytest.approx(0.5 + index / 4, rel=1e-4)
        assert radius.checkpoint == given.names[index]

    drawn = {name: torch.rand_like(rows) for name, rows in found.items()}
    figure = timm_backbones.FIGURE.draw(drawn)
    assert_only(figure)
    assert [panel.get_supylabel() for panel in figure.subfigs] == backbones
    for panel, rows in zip(figure.subfigs, drawn.values(), strict=True):
        assert_close(torch.stack(pixels(panel.axes)), rows.flatten(0, 1))
        assert panel.axes[0].get_title() == "start"
        assert panel.axes[5].get_title() == "t = 200"
