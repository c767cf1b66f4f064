"""Whether a map computes in float64 is seen from its operations."""

import numpy as np
import pytest
import torch
from torch import nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.tracing.digits import computes_in_float64
from memzoo.dynamics.tracing.precision import promote_to_float64


def write_in_place(x):
    y = torch.zeros_like(x)
    y[:, :1] = x[:, :1].float().double()
    return y


def leave_torch(x, dtype):
    return torch.from_numpy(np.sin(x.numpy().astype(dtype)).astype(np.float64))


def take_items(x, dtype):
    sums = [float(dtype(row.sum().item())) for row in x]
    return torch.tensor(sums, dtype=torch.float64)[:, None]


BUFFER = np.zeros(2)


def use_buffer(x, dtype):
    BUFFER[:] = np.sin(x[0].numpy().astype(dtype))
    return torch.from_numpy(BUFFER)


WIDE = {
    "a buffer of numpy": lambda x: x + use_buffer(x, np.float64),
    "a norm by item()": lambda x: x * x.norm().item(),
    "a part in numpy": lambda x: x.tanh() + leave_torch(x, np.float64),
    "a part by item()": lambda x: x.tanh() + take_items(x, np.float64),
    "a constant by item()": lambda x: x.tanh() * torch.ones(2).sum().item(),
    "all of numpy": lambda x: leave_torch(x, np.float64),
    "a kink in numpy": lambda x: torch.from_numpy(np.maximum(x.numpy() - 0.3, 0)) + x,
    "far from zero": lambda x: 1e8 + torch.tanh(3 * (x - 1e8)),
    "digits that underflow": lambda x: 1 + 1e-30 * x,
    "a mask in float32": lambda x: torch.where(x.float() > 0, x, -x),
    "a narrow side result": lambda x: (x.float().mean(), x * 2)[1],
    "a float32 constant": lambda x: x * torch.tensor([0.1, 0.2]),
    "spectrum of frequencies": lambda x: torch.fft.irfft(torch.fft.rfft(x), n=2),
    "numpy": lambda x: torch.from_numpy(np.tanh(x.numpy())),
    "constant of numpy": lambda x: torch.from_numpy(np.ones(x.shape)),
    "view": lambda x: x.view(-1)[:].reshape(x.shape).add_(1),
}
NARROW = {
    "a buffer of numpy": lambda x: x + use_buffer(x, np.float32),
    "a norm by item()": lambda x: x * float(np.float32(x.norm().item())),
    "a part in numpy": lambda x: x.tanh() + leave_torch(x, np.float32),
    "a small part in numpy": lambda x: x.tanh() + 1e-3 * leave_torch(x, np.float32),
    "a part by item()": lambda x: x.tanh() + take_items(x, np.float32),
    "all of numpy": lambda x: leave_torch(x, np.float32),
    "a kink in numpy": lambda x: torch.from_numpy(np.maximum(x.numpy().astype(np.float32), 0).astype(np.float64)) + x,
    "inside": lambda x: x.float().tanh().double(),
    "a part": lambda x: x + 1e-3 * x.float().tanh(),
    "half inside": lambda x: x.half().double() * 2,
    "numpy": lambda x: torch.from_numpy(np.tanh(x.numpy().astype(np.float32)).astype(np.float64)),
    "written in place": write_in_place,
    "complex": lambda x: torch.fft.irfft(torch.fft.rfft(x.float()), n=2).double(),
    "output": lambda x: (x * 2).float(),
}


@pytest.mark.parametrize("name", WIDE)
def test_maps_that_keep_all_digits(name):
    assert computes_in_float64(lambda x: WIDE[name](x.clone()), torch.tensor([[0.3, -0.7]], dtype=torch.float64))


@pytest.mark.parametrize("name", NARROW)
def test_maps_that_lose_digits(name):
    assert not computes_in_float64(NARROW[name], torch.tensor([[0.3, -0.7]], dtype=torch.float64))


def test_a_float64_network_whose_output_hardly_moves_stays_in_float64():
    layers = [layer for _ in range(14) for layer in (nn.Linear(5, 5), nn.Sigmoid())]
    net = nn.Sequential(*layers[:-1]).double()
    x = torch.rand(2, 5, dtype=torch.float64)
    assert promote_to_float64(net, x)[1].dtype == torch.float64
    jacobian = torch.autograd.functional.jacobian(lambda row: net(row[None])[0], x[0])
    torch.testing.assert_close(
        spectrum(net, x).radius[0], torch.linalg.eigvals(jacobian).abs().max(), rtol=1e-8, atol=0
    )


def test_a_map_that_takes_float64_alone_but_computes_in_float32_is_measured_in_float32():
    weight = torch.eye(3, dtype=torch.float64)
    found, points = promote_to_float64(lambda x: (x @ weight).float().tanh().double(), torch.rand(2, 3))
    assert points.dtype == torch.float32
    assert found(points).dtype == torch.float32
    torch.testing.assert_close(found(points), points.tanh())


def test_a_module_of_float32_alone_is_measured_as_it_is():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            self.seen += 1
            return self.layer(x)

    net = Single()
    found, points = promote_to_float64(net, torch.rand(2, 3, dtype=torch.float64))
    assert points.dtype == torch.float32
    assert torch.equal(found(points), net.layer(points))
    assert net.seen == 0


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6, 1e8])
def test_a_map_outside_of_torch_that_is_flat_beyond_its_points(mean):
    def f(x):
        return torch.from_numpy(mean + np.tanh(3 * (x.numpy() - mean)) / np.tanh(3))

    assert computes_in_float64(f, torch.tensor([[mean + 1.0]], dtype=torch.float64))
    assert not computes_in_float64(lambda x: f(x.float()).double(), torch.tensor([[mean + 1.0]], dtype=torch.float64))
