"""A forward that draws its code or its mask is measured at the mode, with a fixed mask, or refused: never at random."""

from types import SimpleNamespace

import pytest
import torch
from torch import distributions, nn

from memzoo.dynamics import iterate, spectrum
from memzoo.dynamics.reconstruction import describe_map, mode_of
from memzoo.dynamics.tracing import enter_map
from memzoo.errors import NotASelfMapError

X = torch.linspace(0, 1, 18).reshape(3, 6).cos()


class Sampling(nn.Module):
    """A variational autoencoder that draws its code in eval mode, too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.back = nn.Linear(2, 6)

    def encode(self, x):
        return self.layer(x).tanh().chunk(2, 1)

    def decode(self, z):
        return self.back(z)

    def sample(self, mean, log_variance):
        return mean + torch.randn_like(mean) * (log_variance / 2).exp()

    def forward(self, x):
        mean, log_variance = self.encode(x)
        return self.decode(self.sample(mean, log_variance)), mean, log_variance


class ByName(Sampling):
    def encode(self, x):
        mean, log_variance = super().encode(x)
        return {"mu": mean, "logvar": log_variance}

    def decode(self, z):
        return SimpleNamespace(sample=super().decode(z))

    def forward(self, x):
        code = self.encode(x)
        return self.decode(self.sample(code["mu"], code["logvar"]))


class Posterior(Sampling):
    """An encoder that returns a distribution of torch."""

    def encode(self, x):
        mean, log_variance = super().encode(x)
        return distributions.Normal(mean, (log_variance / 2).exp())

    def forward(self, x):
        return self.decode(self.encode(x).rsample())


class Latent(Posterior):
    def encode(self, x):
        mean = super().encode(x).mean
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: mean, sample=lambda: self.sample(mean, mean)))

    def forward(self, x):
        return {"recon": self.decode(self.encode(x).latent_dist.sample())}


class Halves(nn.Module):
    """The same with sub-modules in place of methods, and a dict for the batch, as pythae has it."""

    class Encoder(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            mean, log_variance = self.layer(x).tanh().chunk(2, 1)
            return {"embedding": mean, "log_covariance": log_variance}

    def __init__(self):
        super().__init__()
        whole = Sampling()
        self.encoder = self.Encoder(whole.layer)
        self.decoder = whole.back

    def forward(self, inputs):
        code = self.encoder(inputs["data"])
        z = code["embedding"] + torch.randn_like(code["embedding"]) * (code["log_covariance"] / 2).exp()
        return {"loss": z.sum(), "recon_x": self.decoder(z), "z": z}


class OneTensor(nn.Module):
    """An encoder that returns mean and log variance as the halves of one tensor."""

    def __init__(self):
        super().__init__()
        whole = Sampling()
        self.encoder = nn.Sequential(whole.layer, nn.Tanh())
        self.decoder = whole.back

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return self.decoder(torch.normal(mean, (log_variance / 2).exp())), mean, log_variance


class Wrapping(nn.Module):
    """A module that holds the variational autoencoder, as a LightningModule often does."""

    def __init__(self):
        super().__init__()
        self.model = Sampling()

    def forward(self, x):
        return self.model(x)


KINDS = [Sampling, ByName, Posterior, Latent, Halves, OneTensor, Wrapping]


def build(kind):
    torch.manual_seed(4)
    return kind().eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_of_the_posterior_is_decoded(kind):
    module, whole = build(kind), build(Sampling)
    with pytest.warns(UserWarning, match=f"forward of {kind.__name__} draws its code at random; it is measured at"):
        points = iterate(module, X, 2).points
    expected = X
    for _ in range(2):
        expected = whole.back(whole.layer(expected).tanh()[:, :2])
    torch.testing.assert_close(points, expected.detach())
    found = spectrum(module, X)  # said once, so there is no second warning
    jacobians = torch.func.vmap(torch.func.jacrev(lambda row: whole.back(whole.layer(row).tanh()[:2])))(X)
    torch.testing.assert_close(found.radius, torch.linalg.eigvals(jacobians).abs().amax(1).to(found.radius))


class Scaled(Sampling):
    """A module whose forward is not its halves one after the other."""

    def forward(self, x):
        mean, log_variance = self.encode(x)
        return 2 * self.decode(self.sample(mean, log_variance)), mean, log_variance


class Dropping(Sampling):
    """Draws from more than a normal distribution."""

    def forward(self, x):
        mean, log_variance = self.encode(x)
        return self.decode(self.sample(mean, log_variance) * torch.bernoulli(torch.full_like(mean, 0.5)))


@pytest.mark.parametrize("kind", [Scaled, Dropping])
def test_halves_that_do_not_make_up_forward_are_not_measured_in_its_place(kind):
    with pytest.raises(NotASelfMapError, match="it draws at random"):
        spectrum(build(kind), X)


def test_a_forward_that_does_not_draw_in_eval_mode_is_measured_as_it_is():
    class Quiet(Sampling):
        def forward(self, x):
            mean, log_variance = self.encode(x)
            return 3 * self.decode(self.sample(mean, log_variance) if self.training else mean), mean

    module = build(Quiet)
    assert describe_map(enter_map(module, X)) == "[0] of the output of Quiet is taken as the reconstruction"
    torch.testing.assert_close(iterate(module, X, 1).points, module(X)[0].detach())


class Masking(nn.Module):
    """A masked autoencoder that hides half of its patches, drawn at random unless noise is given."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.config = SimpleNamespace(mask_ratio=0.5, norm_pix_loss=False)

    def unpatchify(self, patches):
        return patches.flatten(1)

    def forward(self, x, noise=None):
        noise = torch.rand(len(x), 3) if noise is None else noise
        hidden = noise.argsort(1).argsort(1) >= 3 * (1 - self.config.mask_ratio)
        return SimpleNamespace(logits=self.layer(x * ~hidden.repeat_interleave(2, 1)).reshape(-1, 3, 2), mask=hidden)


def test_a_mask_is_fixed_and_the_same_for_all_rows():
    torch.manual_seed(5)
    module = Masking().eval()
    with pytest.warns(UserWarning, match="one fixed mask, the same for all rows, which hides 50% of the patches"):
        points = iterate(module, X, 1).points
    weight, bias = module.layer.weight, module.layer.bias
    possible = [
        X * torch.tensor(seen).repeat_interleave(2) @ weight.T + bias for seen in ((1, 1, 0), (1, 0, 1), (0, 1, 1))
    ]
    assert sum(torch.allclose(points, one) for one in possible) == 1
    module.config.mask_ratio = 0  # what is drawn makes no difference then
    torch.testing.assert_close(iterate(module, X, 1).points, module.layer(X).detach())


@pytest.mark.parametrize(
    "code",
    [
        torch.zeros(2),
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2), torch.zeros(1)),
        {"mean": torch.zeros(2)},
        SimpleNamespace(latents=torch.zeros(2)),
        None,
    ],
)
def test_what_is_no_distribution_has_no_mode(code):
    with pytest.raises(TypeError, match="is no distribution"):
        mode_of(code)
