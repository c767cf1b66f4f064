"""Maps whose orbits are known, in the place of the networks of a figure."""

from types import SimpleNamespace

import torch
from torch import nn

from memzoo.figures import Material


class Pull(nn.Module):
    r"""Every point moves towards the stored image that is nearest to it, and keeps a share ``rate`` of its distance.

    With x the image nearest to z, :math:`f^t(z) = x + r^t (z - x)`: each stored image is a fixed point whose Jacobian
    is r times the identity, and its basin is all that is nearer to it than to the others.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("stored", config.stored)

    def forward(self, z):
        stored = self.stored.to(z)
        squares = (z.flatten(1)[:, None] - stored.flatten(1)).square().sum(2)
        home = stored[squares.argmin(1)]
        return home + self.config.rate * (z - home)


class Linear(nn.Module):
    """x to M x, of images taken as vectors."""

    def __init__(self, matrix, shape):
        super().__init__()
        self.config = SimpleNamespace(shape=shape)
        self.register_buffer("matrix", matrix)

    def forward(self, z):
        return (z.flatten(1) @ self.matrix.to(z).T).reshape(z.shape)


def pull(stored, probes, *, rate=0.5, examples=None):
    """A network that stores these images; its training images are others where they are given."""
    model = Pull(SimpleNamespace(shape=tuple(stored.shape[1:]), stored=stored, rate=rate)).eval()
    model.examples = stored if examples is None else examples
    model.probes = probes
    return model


class StandIn(Material):
    """Material whose networks are given, by index or by index and step; its facts are those of the zoo's entries."""

    def __init__(self, ids, models, claims=None):
        super().__init__(ids, claims=claims)
        self.given = {key if isinstance(key, tuple) else (key, None): model for key, model in models.items()}

    def model(self, index=0, step=None):
        return self.given[index, step]


def far_from(points, stored, t, rate):
    """Relative distance of each orbit of :class:`Pull` at time t from the image that it goes to."""
    distance, index = torch.cdist(points.double().flatten(1), stored.double().flatten(1)).min(1)
    return rate**t * distance / stored[index].double().flatten(1).norm(dim=1)


def moved(points, stored, t, rate):
    """Where :class:`Pull` takes the points in t steps."""
    index = torch.cdist(points.double().flatten(1), stored.double().flatten(1)).argmin(1)
    return stored[index] + rate**t * (points - stored[index])


def shown(axes):
    """Pixels of the only image of some axes."""
    (image,) = axes.images
    return torch.tensor(image.get_array().data)


def line_of(axes, label):
    """x and y data of the only line with this label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return torch.as_tensor(line.get_xdata()).double(), torch.as_tensor(line.get_ydata()).double()
