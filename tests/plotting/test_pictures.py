"""Figures of iterates and spectra."""

import numpy as np
import pytest
import torch

from memzoo.plotting.pictures import FARTHEST, draw_iterates, draw_spectrum, shown_range


@pytest.mark.parametrize(
    ("values", "low", "high"), [((0, 1), 0, 1), ((0.2, 0.7), 0, 1), ((0, 4), 0, 4), ((-2, 1), -2, 2), ((-1, 3), -3, 3)]
)
def test_the_range_of_the_examples_is_shown(values, low, high):
    assert shown_range(torch.tensor(values, dtype=torch.float32)) == (low, high)


def test_iterates_are_rows_of_images_under_their_headings():
    points = torch.rand(2, 1, 4, 4)
    figure = draw_iterates([("start", points), ("end", points)], points, "title")
    assert len(figure.axes) == 4
    assert figure.get_suptitle() == "title"
    stretched = draw_iterates([("start", points)], 4 * points + 1, "title")
    assert stretched.get_suptitle().startswith("title\nshown from 0 to")
    columns = [("start", torch.rand(2, 9))]
    strips = draw_iterates(columns, torch.rand(2, 9), "title")
    assert strips.axes[0].get_aspect() == "auto"
    assert figure.axes[0].get_aspect() != "auto"


SPECTRUM = torch.tensor([[1.0, 0.5j, 0.25], [-2.0, 0.999, 0.0]], dtype=torch.complex128)


def list_points(axes):
    return [tuple(point) for marks in axes.collections for point in marks.get_offsets()]


def test_every_eigenvalue_is_a_point_of_the_plane():
    axes = draw_spectrum(SPECTRUM, "here").axes[0]
    expected = sorted((value.real, value.imag) for value in SPECTRUM.flatten().tolist())
    assert sorted(list_points(axes)) == expected


def test_eigenvalues_are_counted_within_the_unit_circle_and_outside():
    axes = draw_spectrum(SPECTRUM, "here").axes[0]
    filled = {marks.get_label() for marks in axes.collections if len(marks.get_offsets())}
    assert {label for label in filled if label.endswith(")")} == {"inside the unit circle (4)"}
    labels = [marks.get_label() for marks in axes.collections]
    assert "on or outside it (2)" in labels
    assert "largest of an example" in labels


def test_the_plane_of_a_spectrum_holds_all_points_and_the_unit_circle():
    figure = draw_spectrum(SPECTRUM, "here")
    axes = figure.axes[0]
    assert figure.get_suptitle() == "here: largest |λ| = 2"
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-2.3, 2.3))
    assert axes.get_aspect() == 1
    assert axes.patches[0].get_radius() == 1
    assert not axes.patches[0].get_fill()  # the unit circle is a line, not a disc that hides the axes
    visible = {side for side in axes.spines if axes.spines[side].get_visible()}
    assert visible == {"bottom", "left"}
    # the unit circle and a margin of 15 % are always shown
    assert draw_spectrum(0.1 * SPECTRUM, "").axes[0].get_xlim() == pytest.approx((-1.15, 1.15))


def test_what_lies_far_outside_is_put_on_the_rim_in_its_direction():
    values = torch.tensor([[30 + 40j, 0.5]], dtype=torch.complex128)
    figure = draw_spectrum(values, "here")
    rim = pytest.approx((0.6 * FARTHEST, 0.8 * FARTHEST))  # the direction of 3 + 4i
    assert any(point == rim for point in list_points(figure.axes[0]))
    assert figure.axes[0].get_xlim() == (-FARTHEST, FARTHEST)
    assert figure.get_suptitle() == f"here: largest |λ| = 50\n1 beyond |λ| = {FARTHEST:g}, drawn on the rim"


@pytest.mark.parametrize(
    ("values", "low", "high", "said"),
    [
        ((0.2, 0.9), 0, 1, ""),
        ((0.0, 255.0), 0, 255, "\nshown from 0 to 255"),
        ((-0.5, 2.0), -2, 2, "\nshown from -2 to 2"),
    ],
)
def test_values_outside_the_unit_interval_are_stretched_and_said(values, low, high, said):
    examples = torch.tensor([values])
    assert shown_range(examples) == (low, high)
    figure = draw_iterates([("x", examples)], examples, "title")
    assert figure.get_suptitle() == f"title{said}"
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[0], ((examples[0] - low) / (high - low)).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "drawn"), [((3, 4, 5), (4, 5, 3)), ((4, 5), (4, 5)), ((2, 4, 5), (4, 5)), ((7,), (1, 7))]
)
def test_every_shape_becomes_an_image(shape, drawn):
    points = torch.rand(2, *shape)
    figure = draw_iterates([("x", points), ("y", points)], points, "")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == drawn
    if shape == (2, 4, 5):
        np.testing.assert_allclose(shown, points[0].mean(0).numpy(), rtol=1e-6)


def test_eigenvalues_beyond_the_frame_are_put_on_its_rim_and_counted():
    values = torch.tensor([[30j, 0.5, 0.0], [1.0, -0.5, 0.0]], dtype=torch.complex128)
    figure = draw_spectrum(values, "step 7")
    assert figure.get_suptitle() == "step 7: largest |λ| = 30\n1 beyond |λ| = 4, drawn on the rim"
    axes = figure.axes[0]
    assert axes.get_xlim() == (-FARTHEST, FARTHEST)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["inside the unit circle (4)", "on or outside it (2)", "largest of an example"]
    outside = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections[2:4]])
    np.testing.assert_allclose(outside[np.argsort(outside[:, 0])], [[0, 4], [1, 0]])
    radius = [patch.radius for patch in axes.patches]
    assert radius == [1]
    found = draw_spectrum(values[:, 1:] / 2, "").axes[0].get_xlim()
    assert found == (-1.15, 1.15)
