"""Training sets by formula."""

import pytest
import torch

from memzoo.data import points


def test_a_line_holds_hundredths():
    found = points("line", [25, 75], (1,)).images.tolist()
    assert found == [[0.25], [0.75]]


def test_the_roll_is_the_same_whatever_is_asked_for():
    many = points("swissroll", range(100), (3,)).images
    few = points("swissroll", [7, 3], (3,)).images
    assert torch.equal(few, many[[7, 3]])
    whole = points("swissroll", range(4096), (3,)).images.double()
    assert whole.std().item() == pytest.approx(1, abs=1e-3)
    radius = (whole[:, [0, 2]] - whole[:, [0, 2]].mean(0)).norm(dim=1)
    assert radius.std() > 0.2  # a roll, no cylinder


def test_the_grid_holds_the_roll():
    grid = points("swissroll", range(1000), (3,), split="test").images
    roll = points("swissroll", range(4096), (3,))
    assert torch.equal(grid.amin(0), roll.images.amin(0))
    assert torch.equal(grid.amax(0), roll.images.amax(0))
    assert len(grid.unique(dim=0)) == 1000


def test_patterns_repeat_over_members():
    shape = (5, 1, 2, 2)
    images = points("pixels", [0, 3], shape).images
    assert images.shape == (2, 5, 1, 2, 2)
    expected = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert torch.equal(images[1, 4, 0], expected)
    assert (images == images[:, :1]).all()
    assert points("squares", [2], (1, 4, 4)).images.sum() == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("circle", [0], (3,)), r"formulas are line, swissroll"),
        (("line", [101], (1,)), r"within 0\.\.100, got \[101\]"),
        (("line", [], (1,)), r"non-empty list within 0\.\.100, got none"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message):
    with pytest.raises((ValueError, IndexError), match=message):
        points(*arguments)


def test_splits_have_names():
    with pytest.raises(ValueError, match=r"split must be 'train' or 'test', got 'both'"):
        points("line", [0], (1,), split="both")


@pytest.mark.parametrize(("name", "shape"), [("line", (1,)), ("pixels", (1, 2, 2)), ("squares", (1, 2, 2))])
def test_only_the_roll_has_points_of_its_own_for_each_split(name, shape):
    train, test = (points(name, [1, 2], shape, split=split).images for split in ("train", "test"))
    assert torch.equal(train, test)
    assert points.__doc__ is not None
    assert "both are the same points" in points.__doc__
    assert not torch.equal(*(points("swissroll", [1], (3,), split=split).images for split in ("train", "test")))
