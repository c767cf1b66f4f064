"""Rows of images."""

import torch

from memzoo.plotting.image_grid import as_images, image_grid, show_image


def test_whatever_is_mapped_becomes_an_image():
    assert as_images(torch.rand(2, 7)).shape == (2, 1, 1, 7)
    expected = (2, 1, 5, 7)
    assert as_images(torch.rand(2, 5, 7)).shape == expected
    expected = (2, 1, 1, 120)
    assert as_images(torch.rand(2, 2, 3, 4, 5)).shape == expected
    for channels in (1, 3):
        x = torch.rand(2, channels, 5, 7)
        assert as_images(x) is x
    x = torch.rand(2, 4, 5, 7)
    expected = x.mean(1)[:, None]
    torch.testing.assert_close(as_images(x), expected)


def test_pixels_are_clipped_to_the_range_that_is_shown():
    from matplotlib.figure import Figure

    figure = Figure()
    columns = [("a", torch.tensor([-3.0, 0, 1, 5]).reshape(1, 1, 2, 2)), ("b", torch.zeros(1, 3, 2, 2))]
    image_grid(figure, columns, -1, 3)
    first, second = figure.axes
    expected = [[0, 0.25], [0.5, 1]]
    assert first.images[0].get_array().tolist() == expected
    assert second.images[0].get_array().shape == (2, 2, 3)
    assert first.images[0].get_clim() == (0, 1)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert not first.get_xticks().size
    assert not first.get_yticks().size
    axes = Figure().subplots()
    show_image(axes, torch.tensor([[[0.25]]]))
    assert axes.images[0].get_array().tolist() == [[0.25]]  # from 0 to 1 where nothing else is asked for
