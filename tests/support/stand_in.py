"""Maps whose orbits are known, in the place of the networks of a figure, and readers of what a figure has drawn."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
from torch import nn

from memzoo.figures import FIGURES, Material

SHAPE = (3, 4, 4)
"""Shape of the images of tests for which any shape will do."""


class Pull(nn.Module):
    r"""Move every point towards the stored image nearest to it, so that a share ``rate`` of its distance is left.

    With x the image nearest to z, :math:`f^t(z) = x + r^t (z - x)`: each stored image is a fixed point whose Jacobian
    is r times the identity, and its basin is all that is nearer to it than to the others.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("stored", config.stored)

    def forward(self, z):
        stored = self.stored.to(z)
        # squares have the same order as distances
        squares = (z.flatten(1)[:, None] - stored.flatten(1)).square().sum(2)
        home = stored[squares.argmin(1)]
        return home + self.config.rate * (z - home)


class Linear(nn.Module):
    """Map x to M x, where images are taken as vectors."""

    def __init__(self, matrix, shape):
        super().__init__()
        self.config = SimpleNamespace(shape=shape)
        self.register_buffer("matrix", matrix)

    def forward(self, z):
        return (z.flatten(1) @ self.matrix.to(z).T).reshape(z.shape)


def pull(stored, probes, *, rate=0.5, examples=None):
    """Build a network that stores these images; its training images are the stored ones unless others are given."""
    config = SimpleNamespace(shape=tuple(stored.shape[1:]), stored=stored, rate=rate)
    model = Pull(config).eval()
    model.examples = stored if examples is None else examples
    model.probes = probes
    return model


class StandIn(Material):
    """Hold given networks, by index or by index and step; the facts are those of the zoo's entries."""

    def __init__(self, ids, models, claims=None):
        super().__init__(ids, claims=claims)
        self.given = {key if isinstance(key, tuple) else (key, None): model for key, model in models.items()}

    def model(self, index=0, step=None):
        return self.given[index, step]


def make_material(name, models):
    """Give a figure other networks; its facts and claims stay its own."""
    figure = FIGURES[name]
    return StandIn(figure.ids(), models, figure.claims)


def scatter_around(stored, count, size=0.3):
    """Draw points beside the stored images, beside one after the other."""
    rows = stored[torch.arange(count) % len(stored)]
    # divided by the root of the dimension, the distance is about ``size``
    return rows + size * torch.randn_like(rows) / stored[0].numel() ** 0.5


def measure_distance(points, stored, t, rate):
    """Compute the relative distance of each orbit of :class:`Pull` at time t from the image to which it goes."""
    flat = stored.double().flatten(1)
    distance, index = torch.cdist(points.double().flatten(1), flat).min(1)
    return rate**t * distance / flat[index].norm(dim=1)


def move_points(points, stored, t, rate):
    """Compute where :class:`Pull` takes the points in t steps."""
    index = torch.cdist(points.double().flatten(1), stored.double().flatten(1)).argmin(1)
    home = stored[index]
    return home + rate**t * (points - home)


def index_rows(rows):
    """Index rows by their quantities, no two of which may be the same."""
    found = {row.quantity: row for row in rows}
    assert len(found) == len(rows)
    return found


def draw_line(*_):
    """Draw a picture for a test to which any picture will do, whatever the arrays are."""
    figure = plt.figure(figsize=(2, 2))
    figure.subplots().plot([0, 1])
    return figure


def assert_only_figure(figure):
    """Assert that no other figure of matplotlib is open, which would never be closed."""
    assert plt.get_fignums() == [figure.number]


def read_pixels(axes):
    """Read the pixels of the only image of some axes."""
    (image,) = axes.images
    return torch.tensor(image.get_array().data)


def read_images(axes_of_figure):
    """Read the images of all axes that show one, stacked, channels first."""
    return torch.stack([read_pixels(axes).permute(2, 0, 1).float() for axes in axes_of_figure if axes.images])


def read_line(axes, label):
    """Read the x and y data of the only line with this label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return torch.as_tensor(line.get_xdata()).double(), torch.as_tensor(line.get_ydata()).double()


def read_thumbnails(axes):
    """Read the small images placed inside a plot: the place and the pixels of each."""
    from matplotlib.offsetbox import AnnotationBbox

    boxes = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    return [(box.xy, torch.tensor(box.offsetbox.get_data())) for box in boxes]
