"""Collect modules as other people write them: layers of torch with habits of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

DIM = 12
"""Dimension of most of the spaces."""

Call = Callable[[Any, Tensor], Any]


@dataclass(frozen=True)
class ForeignModule:
    """Hold a module, how it is called, and points of its space."""

    module: nn.Module
    shape: tuple[int, ...] = (DIM,)
    call: Call | None = None
    """``call(module, x)`` where the map is a function around the module; None if the module is the map itself."""
    dtype: torch.dtype = torch.float32
    is_map: bool = True
    """False where there is no self-map that could be measured: a random one, or one whose rows interact."""
    is_map_in_eval: bool = False
    """Whether the module comes in training mode, and is a self-map in eval mode alone."""

    @property
    def f(self) -> Callable[[Tensor], Tensor]:
        """Return the map as a user hands it over."""
        if self.call is None:
            return self.module
        return _Closure(self.call, self.module)

    def draw_points(self, count: int, seed: int) -> Tensor:
        """Draw points of the space."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, *self.shape, generator=generator, dtype=torch.float64).to(self.dtype)


@dataclass(frozen=True)
class _Closure:
    """Call a function around a module, as a lambda would do."""

    call: Call
    module: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        return self.call(self.module, x)


class Around(nn.Module):
    """Put a function between two layers, with modules that it may use."""

    def __init__(self, middle: Call, width: int = DIM, dim: int = DIM, **modules: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Linear(dim, width)
        self.decoder = nn.Linear(width, dim)
        self.middle = middle
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        return self.decoder(self.middle(self, self.encoder(x)))


# Recurrent and attention layers


class Recurrent(nn.Module):
    """Read a point as a sequence, and write it again from the last state."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], *, packed: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.encoder = kind(3, 8, batch_first=batch_first)
        self.decoder = nn.Linear(8, DIM)
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        sequence: Any = x.reshape(len(x), 4, 3)
        if self.packed:
            lengths = torch.full((len(x),), 4)
            sequence = nn.utils.rnn.pack_padded_sequence(sequence, lengths, batch_first=True)
        _, state = self.encoder(sequence)
        last = state[0] if isinstance(state, tuple) else state
        return self.decoder(last[-1])


class SequenceFirst(nn.Module):
    """Feed a batch to an attention layer that takes it for one sequence, so that the rows interact."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(DIM, 2, 16, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        return self.layer(x[:, None])[:, 0]


def _make_transformer(count: int, **options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 16, batch_first=True, **options)
    encoder = nn.TransformerEncoder(layer, count)
    return nn.Sequential(nn.Unflatten(1, (3, 4)), encoder, nn.Flatten())


# Autograd with habits


class OldSwish(torch.autograd.Function):
    """Compute a sigmoid(a), without setup_context."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        """Compute the value."""
        ctx.save_for_backward(a)
        return a * torch.sigmoid(a)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Compute the gradient."""
        (a,) = ctx.saved_tensors
        gate = torch.sigmoid(a)
        return gradients[0] * gate * (1 + a * (1 - gate))


class Reversal(torch.autograd.Function):
    """Return the input, and minus its gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        """Compute the value."""
        ctx.factor = -1.0
        return a.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Reverse the gradient."""
        return ctx.factor * gradients[0]


def _detach_gate(_: Around, a: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(2 * a)
    return a * gate


def _infer_gate(_: Around, a: Tensor) -> Tensor:
    with torch.inference_mode():
        gate = torch.sigmoid(2 * a)
    return a * gate.clone()


def _round_straight_through(_: Around, a: Tensor) -> Tensor:
    return a + (torch.round(4 * a) / 4 - a).detach()


def _differentiate_inside(_: Around, a: Tensor) -> Tensor:
    """Take a step downhill of an energy, as energy-based models do in their forward."""
    with torch.enable_grad():
        a = a if a.requires_grad else a.detach().requires_grad_()
        energy = (a.tanh() ** 2).sum()
        (slope,) = torch.autograd.grad(energy, a, create_graph=True)
    return a - 0.3 * slope


# State that a forward changes


class Counter(nn.Module):
    """Count calls in a buffer, and remember the last activation."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        self.calls += 1
        self.last = torch.tanh(self.layer(x))
        return self.last


class MovingMean(nn.Module):
    """Update the mean of its inputs in eval mode too, by replacing the buffer, without using it."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)
        self.register_buffer("mean", torch.zeros(DIM))
        self.history: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.history.append(len(x))
        return torch.tanh(self.layer(x))


class CachedGrid(nn.Module):
    """Keep a grid of positions from the first call on, in the type that was seen first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)
        self.grids: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        key = tuple(x.shape[1:])
        if key not in self.grids:
            self.grids[key] = torch.linspace(0, 1, x.shape[1], dtype=x.dtype)
        return torch.tanh(self.layer(x + self.grids[key]))


class Branching(nn.Module):
    """Choose the way of a batch by its values, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(DIM, DIM)
        self.second = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        rows = [self.first(row) if float(row.sum()) > DIM / 2 else self.second(row).tanh() for row in x]
        return torch.stack(rows)


class SparseLayer(nn.Module):
    """Multiply by a sparse matrix in a buffer, as graph networks do."""

    matrix: Tensor

    def __init__(self, layout: str) -> None:
        super().__init__()
        dense = torch.randn(DIM, DIM) * (torch.rand(DIM, DIM) < 0.4)
        self.register_buffer("matrix", dense.to_sparse() if layout == "coo" else dense.to_sparse_csr())

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        return torch.tanh(self.matrix @ x.T).T


class Equilibrium(nn.Module):
    """Solve z = tanh(W z) + x by iteration, as deep equilibrium models do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)
        nn.init.orthogonal_(self.layer.weight, 0.4)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        z = torch.zeros_like(x)
        for _ in range(60):
            z = torch.tanh(self.layer(z)) + x
        return z / 2


def _enlarge(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return 1.5 * output


def _make_hooked(kind: str) -> nn.Sequential:
    module = nn.Sequential(nn.Linear(DIM, DIM), nn.Tanh(), nn.Linear(DIM, DIM))
    if kind == "forward":
        module[1].register_forward_hook(_enlarge)
    elif kind == "pre":
        module[0].register_forward_pre_hook(lambda _, inputs: (inputs[0] ** 2,))
    else:
        module[0].register_full_backward_hook(lambda *_: None)
    return module


def _make_dense(width: int = DIM) -> nn.Sequential:
    return nn.Sequential(nn.Linear(DIM, width), nn.Tanh(), nn.Linear(width, DIM))


def _make_convolutional(**options: Any) -> nn.Module:
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 2, 3, padding=1)]
    return nn.Sequential(*layers).to(**options)


def _make_batch_norm(*, training: bool) -> nn.Module:
    module = nn.Sequential(nn.Linear(DIM, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, DIM))
    for _ in range(10):
        module(torch.randn(32, DIM))
    return module.train(training)


def _quantise(module: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)


def _read_sorted(_: Around, a: Tensor) -> Tensor:
    return a.sort(1).values


def _make_inverse_distances() -> nn.Module:
    return Around(lambda module, a: torch.exp(-torch.cdist(a, module.decoder.weight.T[:, :DIM])))


def _solve_inside(_: Around, a: Tensor) -> Tensor:
    """Solve (I + a a^T) z = a for each row."""
    system = torch.eye(a.shape[1], dtype=a.dtype) + a[:, :, None] * a[:, None, :]
    return torch.linalg.solve(system, a[:, :, None]).squeeze(-1)


def _filter(_: Around, a: Tensor) -> Tensor:
    """Damp the high frequencies."""
    frequencies = torch.fft.rfft(a)
    damping = torch.linspace(1, 0.2, frequencies.shape[-1], dtype=a.dtype)
    return torch.fft.irfft(frequencies * damping, n=a.shape[1])


def _resample(module: nn.Module, x: Tensor) -> Tensor:
    """Turn an image by an angle that a network reads from it."""
    angle = module(x.flatten(1)).mean(1)
    rows = [
        torch.stack([angle.cos(), -angle.sin(), 0 * angle], 1),
        torch.stack([angle.sin(), angle.cos(), 0 * angle], 1),
    ]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def _nest(depth: int) -> Call:
    """Nest functions around a module."""
    call: Call = lambda module, x: module(x)  # noqa: E731  (a user's lambda is what is meant)
    for _ in range(depth):
        call = (lambda inner: lambda module, x: 0.9 * inner(module, x))(call)
    return call


class Logging(nn.Module):
    """Write what it computes to a list, detached, as a training loop does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)
        self.rows: list[dict[str, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        y = torch.tanh(self.layer(x))
        self.rows.append({"mean": y.mean().item()})
        return y


def _make_lazy(*, ready: bool) -> nn.Module:
    module = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(DIM))
    if ready:
        module(torch.zeros(1, DIM))
    return module


MODULES: dict[str, Callable[[], ForeignModule]] = {
    "TransformerEncoderLayer": lambda: ForeignModule(_make_transformer(1)),
    "TransformerEncoder": lambda: ForeignModule(_make_transformer(2, norm_first=True, activation="gelu")),
    "Transformer sequence first": lambda: ForeignModule(SequenceFirst(), is_map=False),
    "LSTM": lambda: ForeignModule(Recurrent(nn.LSTM)),
    "GRU": lambda: ForeignModule(Recurrent(nn.GRU)),
    "LSTM packed": lambda: ForeignModule(Recurrent(nn.LSTM, packed=True)),
    "weight norm": lambda: ForeignModule(nn.Sequential(parametrizations.weight_norm(nn.Linear(DIM, DIM)), nn.Tanh())),
    "spectral norm": lambda: ForeignModule(
        nn.Sequential(parametrizations.spectral_norm(nn.Linear(DIM, DIM)), nn.Tanh())
    ),
    "orthogonal": lambda: ForeignModule(nn.Sequential(parametrizations.orthogonal(nn.Linear(DIM, DIM)), nn.Tanh())),
    "old weight norm": lambda: ForeignModule(nn.Sequential(nn.utils.weight_norm(nn.Linear(DIM, DIM)), nn.Tanh())),
    "old spectral norm": lambda: ForeignModule(nn.Sequential(nn.utils.spectral_norm(nn.Linear(DIM, DIM)), nn.Tanh())),
    "scripted": lambda: ForeignModule(cast(nn.Module, torch.jit.script(_make_dense()))),
    "traced": lambda: ForeignModule(cast(nn.Module, torch.jit.trace(_make_dense(), torch.rand(2, DIM)))),
    "compiled": lambda: ForeignModule(cast(nn.Module, torch.compile(_make_dense(), backend="eager"))),
    "graph module": lambda: ForeignModule(torch.fx.symbolic_trace(_make_dense())),
    "quantised": lambda: ForeignModule(_quantise(_make_dense())),
    "sparse COO": lambda: ForeignModule(SparseLayer("coo")),
    "sparse CSR": lambda: ForeignModule(SparseLayer("csr")),
    "checkpointing": lambda: ForeignModule(Around(lambda _, a: checkpoint(torch.tanh, a, use_reentrant=False))),
    "reentrant checkpointing": lambda: ForeignModule(
        Around(lambda _, a: checkpoint(torch.tanh, a, use_reentrant=True))
    ),
    "old autograd function": lambda: ForeignModule(Around(lambda _, a: OldSwish.apply(a))),
    "gradient reversal": lambda: ForeignModule(Around(lambda _, a: torch.tanh(Reversal.apply(a)))),
    "gate without gradient": lambda: ForeignModule(Around(_detach_gate)),
    "gate in inference mode": lambda: ForeignModule(Around(_infer_gate)),
    "straight-through rounding": lambda: ForeignModule(Around(_round_straight_through)),
    "gradient step inside": lambda: ForeignModule(Around(_differentiate_inside)),
    "whole map without gradient": lambda: ForeignModule(_make_dense(), call=torch.no_grad()(lambda m, x: m(x))),
    "counter": lambda: ForeignModule(Counter()),
    "moving mean": lambda: ForeignModule(MovingMean()),
    "cached grid": lambda: ForeignModule(CachedGrid()),
    "logging": lambda: ForeignModule(Logging()),
    "branching": lambda: ForeignModule(Branching()),
    "equilibrium": lambda: ForeignModule(Equilibrium()),
    "forward hook": lambda: ForeignModule(_make_hooked("forward")),
    "pre-hook": lambda: ForeignModule(_make_hooked("pre")),
    "backward hook": lambda: ForeignModule(_make_hooked("backward")),
    "channels last": lambda: ForeignModule(_make_convolutional(memory_format=torch.channels_last), (2, 4, 4)),
    "convolutional": lambda: ForeignModule(_make_convolutional(), (2, 4, 4)),
    "pixel shuffle": lambda: ForeignModule(
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.PixelShuffle(2)), (1, 4, 4)
    ),
    "transposed convolution": lambda: ForeignModule(
        nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.ELU(), nn.ConvTranspose2d(4, 1, 2, stride=2)), (1, 4, 4)
    ),
    "max pooling": lambda: ForeignModule(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 16), nn.Unflatten(1, (1, 4, 4))
        ),
        (1, 4, 4),
    ),
    "grid sampling": lambda: ForeignModule(nn.Linear(16, 4), (1, 4, 4), _resample),
    "batch norm": lambda: ForeignModule(_make_batch_norm(training=False)),
    "batch norm in training": lambda: ForeignModule(_make_batch_norm(training=True), is_map=False, is_map_in_eval=True),
    "batch norm in training, function": lambda: ForeignModule(
        _make_batch_norm(training=True), call=lambda module, x: module(x), is_map=False, is_map_in_eval=True
    ),
    "batch mean": lambda: ForeignModule(Around(lambda _, a: torch.tanh(a - a.mean(0))), is_map=False),
    "dropout function": lambda: ForeignModule(Around(lambda _, a: nn.functional.dropout(a, 0.3)), is_map=False),
    "noise": lambda: ForeignModule(Around(lambda _, a: a + 0.1 * torch.randn_like(a)), is_map=False),
    "double": lambda: ForeignModule(_make_dense().double(), dtype=torch.float64),
    "bfloat16": lambda: ForeignModule(_make_dense().bfloat16(), dtype=torch.bfloat16),
    "float16": lambda: ForeignModule(_make_dense().half(), dtype=torch.float16),
    "lazy": lambda: ForeignModule(_make_lazy(ready=False)),
    "lazy, ready": lambda: ForeignModule(_make_lazy(ready=True)),
    "nested functions": lambda: ForeignModule(_make_dense(4), call=_nest(5)),
    "sorting": lambda: ForeignModule(Around(_read_sorted)),
    "distances": lambda: ForeignModule(_make_inverse_distances()),
    "linear solve": lambda: ForeignModule(Around(_solve_inside)),
    "Fourier filter": lambda: ForeignModule(Around(_filter)),
    "complex output": lambda: ForeignModule(_make_dense(), call=lambda module, x: module(x) * 1j, is_map=False),
    "integer output": lambda: ForeignModule(_make_dense(), call=lambda module, x: module(x).long(), is_map=False),
    "no finite output": lambda: ForeignModule(_make_dense(), call=lambda module, x: module(x).log(), is_map=False),
}
"""The modules; each is made anew for each measurement, from the same random state."""
