"""The reconstruction is found in what a forward returns, by one rule, wherever a map enters."""

import logging
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, find_attractors, iterate, operator, output_range, recovery_curve, spectrum
from memzoo.dynamics.reconstruction import NAMES, OTHER_NAMES, describe_map
from memzoo.dynamics.tracing import enter_map
from memzoo.errors import NotASelfMapError

X = torch.linspace(0, 1, 18).reshape(3, 6).cos()
Named = namedtuple("Named", ["loss", "decoded_image"])


@dataclass
class Record:
    """An output with a field that is not set."""

    loss: torch.Tensor
    image: torch.Tensor
    nothing: None = None


class Slotted:
    """An output without a dict of attributes, with a property that raises."""

    __slots__ = ("image", "unset")

    def __init__(self, image):
        self.image = image

    @property
    def sample(self):
        raise RuntimeError("not computed")


class Computed:
    """An output whose reconstruction is a property."""

    def __init__(self, image):
        self._image = image

    @property
    def reconstruction(self):
        return self._image


class ModelOutput(OrderedDict):
    """A dict with attributes, as transformers and diffusers return."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Returning(nn.Module):
    """A linear autoencoder that returns its reconstruction in some wrapping."""

    def __init__(self, wrap=lambda y, x, z: y):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.encoder = nn.Linear(6, 2, bias=False)
        self.decoder = nn.Linear(2, 6, bias=False)
        with torch.no_grad():
            for layer in (self.encoder, self.decoder):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 2)
        self.wrap = wrap

    def forward(self, x):
        z = self.encoder(x)
        return self.wrap(self.decoder(z), x, z)


WRAPPINGS = {
    "(y, z)": (lambda y, x, z: (y, z), "[0]"),
    "[x, y]": (lambda y, x, z: [x, y], "[1]"),
    "a view of x": (lambda y, x, z: (x.view(-1, 6), y), "[1]"),
    "a copy of x": (lambda y, x, z: (x.clone(), y, z, z), "[1]"),
    "dict": (lambda y, x, z: {"loss": y.mean(), "rebuilt image": y, "none": None}, "['rebuilt image']"),
    "scalar losses": (lambda y, x, z: {"loss": 0.5, "losses": {"kl": y.sum(), "l2": 1}, "out": y}, "['out']"),
    "named tuple": (lambda y, x, z: Named(y.mean(), y), ".decoded_image"),
    "dataclass": (lambda y, x, z: Record(y.mean(), y), ".image"),
    "slots": (lambda y, x, z: Slotted(y), ".image"),
    "property": (lambda y, x, z: Computed(y), ".reconstruction"),
    "attributes": (lambda y, x, z: SimpleNamespace(sample=y, x=x), ".sample"),
    "ModelOutput": (lambda y, x, z: ModelOutput(loss=y.mean(), logits=y), ".logits"),
    "nested": (lambda y, x, z: {"outputs": [{"deep": (z, (y,))}]}, "['outputs'][0]['deep'][1][0]"),
    "generator": (lambda y, x, z: ((i for i in range(3)), y), "[1]"),
    "integers": (lambda y, x, z: (y.long(), y), "[1]"),
    "the same twice": (lambda y, x, z: {"a": y, "b": y}, "['a']"),
    "a name decides": (lambda y, x, z: {"other": y + 1, "x_hat": y}, "['x_hat']"),
    "the first name decides": (lambda y, x, z: SimpleNamespace(output=y + 1, recon=y), ".recon"),
    "mean and variance beside it": (lambda y, x, z: {"mean": y - 1, "logvar": y + 1, "y": y}, "['y']"),
    "hidden states": (lambda y, x, z: {"hidden_states": (y - 1, y + 1), "y": y}, "['y']"),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_reconstruction_is_taken_out_of_any_wrapping(name, caplog):
    wrap, path = WRAPPINGS[name]
    caplog.set_level(logging.INFO, logger="memzoo")
    module, plain = Returning(wrap).eval(), Returning().eval()
    found = spectrum(module, X)
    # Closed form: the eigenvalues of the product of both layers.
    expected = torch.linalg.eigvals((plain.encoder.weight @ plain.decoder.weight).double()).abs().amax()
    torch.testing.assert_close(found.radius, expected.expand(3).to(found.radius))
    assert found.method == spectrum(plain, X).method == "dense" or found.method == "cut"
    assert f"{path} of the output of Returning is taken as the reconstruction" in caplog.text
    assert caplog.text.count("is taken") == 1  # said once
    assert torch.equal(iterate(module, X, 3).points, iterate(plain, X, 3).points)


def test_every_function_that_measures_a_map_finds_it():
    module, plain = Returning(WRAPPINGS["dict"][0]).eval(), Returning().eval()
    torch.testing.assert_close(operator(module, (6,)).matrix, operator(plain, (6,)).matrix)
    torch.testing.assert_close(output_range(module, X).coordinates(X), output_range(plain, X).coordinates(X))
    for measure in (lambda f: certify(f, X).radius, lambda f: recovery_curve(f, X, X, steps=4).rate):
        assert torch.equal(measure(module), measure(plain))
    assert torch.equal(find_attractors(module, X).index, find_attractors(plain, X).index)


def test_a_function_may_return_several_parts_too():
    plain = Returning().eval()
    found = spectrum(lambda x: {"loss": 0, "y": plain(x)}, X)
    torch.testing.assert_close(found.radius, spectrum(plain, X).radius)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda y, x, z: (y, y + 1),
            r"2 tensors of the shape of the input \(1, 6\), \[0\], \[1\], and none",
        ),
        (lambda y, x, z: (y.double(), y), r"2 tensors .*\[0\] \(1, 6\) float64, \[1\] \(1, 6\) float32"),
        (lambda y, x, z: {"mean": y, "logvar": y + 1}, r"no floating-point tensor .*\['mean'\] \(1, 6\) float32"),
        (lambda y, x, z: (z, z), r"no floating-point tensor .*It holds: \[0\] \(1, 2\) float32"),
        (lambda y, x, z: (x, z), "no floating-point tensor"),
        (lambda y, x, z: (x.clone(), z), "no floating-point tensor"),
        (lambda y, x, z: {"z": y}, "no floating-point tensor"),
        (lambda y, x, z: {}, ".*It holds: nothing"),
        (lambda y, x, z: None, "no floating-point tensor .*It holds: NoneType"),
        (lambda y, x, z: SimpleNamespace(logits=z), r".*\.logits \(1, 2\) float32.*self_map="),
        (lambda y, x, z: {"recon": y, "x_hat": y.long(), "sample": 1, **{str(i): z for i in range(20)}}, None),
    ],
)
def test_where_no_part_or_several_could_be_it_the_error_lists_what_came(wrap, message):
    if message is None:
        assert describe_map(enter_map(Returning(wrap), X)).startswith("['recon']")
        return
    with pytest.raises(NotASelfMapError, match=f"(?s)the output of Returning holds {message}"):
        spectrum(Returning(wrap).eval(), X)


def test_a_fixed_point_is_not_taken_for_a_copy_of_the_input():
    origin = torch.zeros(1, 6)
    plain = Returning().eval()
    assert torch.equal(plain(origin), origin)
    torch.testing.assert_close(
        spectrum(Returning(lambda y, x, z: (y, z)).eval(), origin).radius, spectrum(plain, origin).radius
    )


def test_a_part_of_another_type_than_the_input_is_refused_with_the_way_out():
    with pytest.raises(NotASelfMapError, match=r"became torch.float16.*return y.to\(x.dtype\)"):
        iterate(Returning(lambda y, x, z: (y.half(), z)).eval(), X)


def test_a_module_in_half_precision_is_measured_in_float32():
    module, plain = (Returning(wrap).to(torch.bfloat16).eval() for wrap in (lambda y, x, z: (y, z), lambda y, x, z: y))
    assert torch.equal(iterate(module, X, 2).points, iterate(plain, X, 2).points)


def test_no_name_is_that_of_a_reconstruction_and_of_something_else():
    assert not OTHER_NAMES.intersection(NAMES)
    assert len(set(NAMES)) == len(NAMES)


class Patches(Returning):
    """A network that returns an image in patches, as masked autoencoders do."""

    def forward(self, x):
        return SimpleNamespace(loss=x.sum(), logits=super().forward(x).reshape(-1, 3, 2))


class Unpatching(Patches):
    config = SimpleNamespace(norm_pix_loss=False)

    def unpatchify(self, patches):
        return patches.reshape(len(patches), 6)


def test_patches_are_put_together_by_the_method_of_the_module():
    assert describe_map(enter_map(Unpatching(), X)).startswith("unpatchify of .logits")
    torch.testing.assert_close(spectrum(Unpatching().eval(), X).radius, spectrum(Returning().eval(), X).radius)
    with pytest.raises(NotASelfMapError, match=r"no floating-point tensor .*\.logits \(1, 3, 2\)"):
        spectrum(Patches().eval(), X)
    normalised = Unpatching().eval()
    normalised.config = SimpleNamespace(norm_pix_loss=True)
    with pytest.raises(NotASelfMapError, match="normalised one by one"):
        spectrum(normalised, X)


class WithArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x, timestep, scale=1.0, *, labels):
        return self.layer(x)


def test_arguments_that_forward_needs_beside_the_batch_are_named():
    with pytest.raises(NotASelfMapError, match=r"WithArguments needs more than the batch: timestep, labels.*self_map="):
        spectrum(WithArguments().eval(), X)
    with pytest.raises(NotASelfMapError, match="needs more than the batch: t"):
        iterate(lambda x, t: x, X)


class Keyed(Returning):
    """A module that reads its batch from a dict."""

    def forward(self, inputs):
        return {"loss": 0.0, "recon_x": super().forward(inputs["data"])}


def test_a_module_that_reads_one_key_of_a_dict_is_given_one():
    assert describe_map(enter_map(Keyed(), X)).startswith("Keyed is given its batch as {'data': x}; ['recon_x'] of")
    torch.testing.assert_close(spectrum(Keyed().eval(), X).radius, spectrum(Returning().eval(), X).radius)


class WithCut(Returning):
    def cut(self):
        return self.encoder, self.decoder


def test_a_declared_cut_is_kept():
    found = spectrum(WithCut(lambda y, x, z: (y, z)).eval(), X, method="cut")
    assert found.method == "cut"
    torch.testing.assert_close(found.radius, spectrum(Returning().eval(), X).radius)


def test_a_module_whose_first_call_makes_its_parameters_is_left_alone():
    module = nn.LazyLinear(6)
    assert enter_map(module, X) is module
    assert nn.parameter.is_lazy(module.weight)
