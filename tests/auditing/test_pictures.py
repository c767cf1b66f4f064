"""Test the pictures of points: pixels, shapes, and the values shown as black and white."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from memzoo.auditing.pictures import encode_png, find_value_range


def draw(point, low=0.0, high=1.0):
    return np.asarray(Image.open(BytesIO(encode_png(point, low, high))))


def test_pixels_are_the_clipped_values():
    point = torch.tensor([[[0.0, 0.2], [1.0, 7.0]]])
    found = draw(point).tolist()
    assert found == [[0, 51], [255, 255]]
    found = draw(torch.tensor([[-1.0, 1.0]]), -1.0, 1.0).tolist()
    assert found == [[0, 255]]
    found = draw(torch.tensor([[torch.nan]])).tolist()
    assert found == [[0]]


def test_images_keep_their_shape_and_vectors_become_strips():
    assert draw(torch.rand(3, 4, 5)).shape == (4, 5, 3)
    assert draw(torch.rand(4, 5)).shape == (4, 5)
    assert draw(torch.rand(7, 4, 5)).shape == (4, 5)
    assert draw(torch.rand(6)).shape == (1, 6)


def test_the_range_is_that_of_pixels_else_that_of_the_values():
    assert find_value_range(torch.tensor([[0.2, 0.3]])) == (0, 1)
    found = find_value_range(torch.tensor([[-2.0, 3.0, torch.nan]]))
    assert found == (-2, 3)
    assert find_value_range(torch.tensor([[5.0, 5.0]])) == (5, 6)
    assert find_value_range(torch.tensor([[torch.nan]])) == (0, 1)
