"""Figure 8 with a linear map whose eigenvalues are known."""

import pytest
import torch
from stand_in import SHAPE, Linear, assert_only_figure, index_rows, make_material, read_images
from torch.testing import assert_close

from memzoo.data import gaussian_noise
from memzoo.figures.paper import fig8


def build_linear(image, second, scale=1.0):
    """Build a map with eigenvalue ``scale`` at the image, and ``scale * second`` at all that is orthogonal to it."""
    x = image.flatten().double()
    along = torch.outer(x, x) / x.dot(x)
    across = torch.eye(len(x), dtype=torch.float64) - along
    model = Linear(scale * (along + second * across), SHAPE).eval()
    model.examples = image.double()
    model.probes = image.double()
    return model


def test_multiples_of_the_image_and_the_spectrum_are_found():
    image = torch.rand(1, *SHAPE)
    material = make_material("fig8", {0: build_linear(image, 1e-6)})
    found = fig8.FIGURE.arrays(material)
    noise = gaussian_noise(fig8.SHOWN, SHAPE, seed=0)
    assert torch.equal(found["noise"], noise)
    x = image.flatten()
    multiple = noise.flatten(1) @ x / x.dot(x)
    assert_close(found["multiple"].float(), multiple)
    expected = multiple[:, None, None, None] * image
    assert_close(found["noise_outputs"], expected, atol=1e-4, rtol=0)
    assert_close(found["reproduced"], image.double())
    wanted = torch.full((48,), 1e-6, dtype=torch.float64)
    wanted[0] = 1
    assert_close(found["eigenvalues"].double(), wanted, atol=1e-12, rtol=1e-6)
    row = index_rows(fig8.FIGURE.rows(material, found))
    spectrum = row["spectrum of the linear operator"]
    assert spectrum.ours in ("1, [< 1e-6]", "1, [< 2e-6]")  # rounded up to one digit
    assert spectrum.holds
    assert row["second eigenvalue"].holds


@pytest.mark.parametrize(("scale", "second"), [(1.0, 8e-6), (1.02, 1e-6)])
def test_spectra_beyond_the_bracket_fall_short(scale, second):
    models = {0: build_linear(torch.rand(1, *SHAPE), second, scale)}
    material = make_material("fig8", models)
    assert fig8.FIGURE.rows(material, {})[0].holds is False


@pytest.fixture
def arrays():
    return {
        "examples": torch.rand(1, *SHAPE),
        "reproduced": torch.rand(1, *SHAPE),
        "noise": torch.rand(3, *SHAPE),
        "noise_outputs": torch.randn(3, *SHAPE),
        "multiple": torch.tensor([0.5, -1.25, 2.0]),
        "eigenvalues": torch.tensor([1.0, 1e-6, 1e-20]),
    }


def test_the_picture_shows_image_and_outputs(arrays):
    figure = fig8.FIGURE.draw(arrays)
    assert_only_figure(figure)
    *images, _ = figure.axes
    outputs = arrays["noise_outputs"].flatten(1)
    low = outputs.amin(1, keepdim=True)
    high = outputs.amax(1, keepdim=True)
    stretched = ((outputs - low) / (high - low)).reshape(3, *SHAPE)
    wanted = [arrays["examples"], arrays["reproduced"], arrays["noise"] / 4 + 0.5, stretched]
    assert_close(read_images(images), torch.cat(wanted))
    multiples = [rf"${multiple}\,\times$ image" for multiple in ("0.50", "-1.25", "2.00")]
    expected = ["training image", "output", "", "", "", *multiples]
    assert [axes.get_title() for axes in images] == expected
    labels = [axes.get_ylabel() for axes in images if axes.get_ylabel()]
    assert labels == ["Gaussian input", "output (rescaled)"]


def test_the_picture_shows_the_spectrum_and_the_bound_of_the_paper(arrays):
    spectrum = fig8.FIGURE.draw(arrays).axes[-1]
    moduli, bound = spectrum.lines
    assert moduli.get_xdata().tolist() == [1, 2, 3]
    assert moduli.get_ydata() == pytest.approx([1, 1e-6, 1e-18])
    assert set(bound.get_ydata()) == {fig8.BOUND}
    assert spectrum.get_yscale() == "log"
