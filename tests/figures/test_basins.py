import pytest
import torch

from memzoo.errors import UnknownCheckpointError
from memzoo.figures import Material
from memzoo.figures.basins import FIGURE, discs


def arrays(ends, own):
    """A plane of 5 x 5 with three images: A in the middle, B left of it, C at the upper edge."""
    x = torch.arange(5.0)
    return {
        "x": x,
        "y": x,
        "ends": ends,
        "chosen": torch.tensor([0, 1, 2]),
        "own": torch.tensor(own),
        "positions": torch.tensor([[2.0, 2.0], [0.0, 2.0], [2.0, 4.0]]),
    }


def test_a_disc_reaches_to_the_first_start_that_ends_elsewhere():
    ends = torch.zeros(5, 5, dtype=torch.long)
    ends[2, 4] = 1  # y = 2, x = 4: two from A
    ends[4, 2] = 2
    found = discs(arrays(ends, [0, 1, 2]))
    assert found[0] == 2
    ends[2, 3] = 7  # another training image, one from A
    assert discs(arrays(ends, [0, 1, 2]))[0] == 1


def test_an_image_outside_of_its_own_basin_has_no_disc():
    ends = torch.zeros(5, 5, dtype=torch.long)
    assert discs(arrays(ends, [3, 1, 2]))[0] == 0


def test_networks_of_another_kind_are_refused():
    for name in ("cifar10-d1", "line2-fc3x50"):
        with pytest.raises(
            UnknownCheckpointError, match=r"mnist20-fc14x128 is a FullyConnected, nonlinear.*cannot take"
        ):
            Material(FIGURE.ids(), [name]).model()
