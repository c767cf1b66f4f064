"""The self-map of the codes, z -> E(D(z)), and its spectrum beside that of the reconstruction."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import memzoo
from memzoo.dynamics import iterate, spectrum
from memzoo.errors import InvalidTypeError


class Halved(nn.Module):
    """An autoencoder with methods for its halves."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 2)
        self.last = nn.Linear(2, 6)

    def encode(self, x):
        return self.first(x).tanh()

    def decode(self, z):
        return self.last(z)

    def forward(self, x):
        return self.decode(self.encode(x))


class Wrapped(Halved):
    def encode(self, x):
        return SimpleNamespace(latents=super().encode(x))

    def decode(self, z):
        return SimpleNamespace(sample=super().decode(z), commit_loss=torch.zeros(len(z)))


class Variational(Halved):
    def encode(self, x):
        return super().encode(x), torch.ones(len(x), 2)

    def decode(self, z):
        return {"image": super().decode(z)}


class Attributes(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 2), nn.Tanh())
        self.decoder = nn.Linear(2, 6)


@pytest.mark.parametrize("kind", [Halved, Wrapped, Variational, Attributes])
def test_a_code_is_decoded_and_encoded_again(kind):
    torch.manual_seed(2)
    module = kind().eval()
    first, last = (p for p in module.modules() if isinstance(p, nn.Linear))
    z = torch.rand(3, 2)
    torch.testing.assert_close(memzoo.code_map(module)(z), first(last(z)).tanh())


def test_both_maps_have_the_same_eigenvalues_but_for_zeros():
    module = Halved().eval()
    codes = iterate(memzoo.code_map(module), torch.zeros(1, 2), 500).points
    image = module.decode(codes).detach()
    at_code = spectrum(memzoo.code_map(module), codes).eigenvalues
    at_image = spectrum(module, image).eigenvalues[:, :2]
    torch.testing.assert_close(at_code, at_image, rtol=1e-4, atol=1e-5)


def test_a_module_without_halves_is_refused():
    with pytest.raises(InvalidTypeError, match="Linear has neither encode and decode nor encoder and decoder"):
        memzoo.code_map(nn.Linear(2, 2))


def test_a_decoder_of_several_unnamed_tensors_is_refused():
    class Two(Halved):
        def decode(self, z):
            return self.last(z), self.last(z) + 1

    with pytest.raises(InvalidTypeError, match="decode of Two returns 2 tensors"):
        memzoo.code_map(Two())(torch.zeros(1, 2))
