import functools
import json
import math
from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import Trainer
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call

from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches
from memzoo.dynamics import spectrum
from memzoo.errors import NotASelfMapError
from memzoo.models import ARCHITECTURES, D1, Autoencoder, FullyConnected, Initialisation, Training, initialise
from memzoo.models.base.denormals import flushes_denormals

SMALL = {
    "ConvAutoencoder": {"shape": [3, 4, 4], "layers": 4, "filters": 3, "activation": "leaky_relu", "skip": 2},
    "D1": {"shape": [3, 8, 8], "filters": 5, "activation": "leaky_relu", "bias": True},
    "D2": {"shape": [3, 8, 8], "filters": 4, "layers": 6, "init": {"scheme": "default"}},
    "Ensemble": {"architecture": "ConvAutoencoder", "member": {"shape": [1, 3, 3], "layers": 3}, "members": 4},
    "FullyConnected": {"shape": [1, 4, 4], "depth": 3, "width": 6},
    "LinearAutoencoder": {"shape": [1, 4, 4]},
    "OneLayerAutoencoder": {"shape": [1, 4, 4], "phi": "tanh"},
    "PiecewiseLinear": {"shape": [2, 3], "units": 5},
    "TimmAutoencoder": {"shape": [3, 32, 32], "backbone": "resnet10t", "filters": 8},
    "UNet": {"shape": [3, 8, 8], "filters": [4, 5], "skip_side": 4},
    "WideReLU": {"shape": [1, 4, 4], "width": 50},
}
QUICK = {"max_steps": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def small(name, **options):
    return ARCHITECTURES[name](SMALL[name], **options)


def test_the_table_lists_every_architecture_under_its_name():
    assert {kind.__name__: kind for kind in Autoencoder.__subclasses__()} == ARCHITECTURES
    assert SMALL.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_round_trips_through_json_and_safetensors(name, tmp_path):
    model = small(name).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.config.model_dump(mode="json")))
    torch.manual_seed(1)  # the weights come from the file
    twin = ARCHITECTURES[name](json.loads((tmp_path / "config.json").read_text())).eval()
    twin.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    x = torch.rand(2, *model.shape)
    assert torch.equal(twin(x), model(x))
    assert twin(x).shape == x.shape


@pytest.mark.filterwarnings("ignore:the gradient of .* is exactly zero:UserWarning")  # zero knots pass nothing on
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_trains_a_step_under_the_callback(name):
    model = small(name, training={"lr": 0.01})
    x = torch.rand(2, *model.shape)
    if name == "PiecewiseLinear":
        model = ARCHITECTURES[name].from_examples(0.2 + 0.6 * x, eps=0.1)
    before = [p.clone() for p in model.parameters()]
    callback = AttractorCallback(x, steps=5, max_starts=5, verbose=False)
    Trainer(**QUICK, callbacks=[callback], enable_model_summary=False).fit(model, full_batches(x))
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert math.isfinite(callback.history[-1]["attractor/radius_max"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_measured_by_spectrum(name):
    model = small(name).eval()
    if name == "PiecewiseLinear":
        model = ARCHITECTURES[name].from_examples(torch.rand(3, *model.shape), eps=0.1).eval()
    x = torch.rand(2, *model.shape)
    found = spectrum(model, x, top=1)
    size = math.prod(model.shape)
    if size > 200:  # a dense Jacobian by its definition is slow
        assert found.radius.isfinite().all()
        return
    double = functools.partial(functional_call, model, {k: v.double() for k, v in model.state_dict().items()})
    for row, radius in zip(x.double(), found.radius, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda z: double((z[None],))[0], row).view(size, size)
        assert radius.item() == pytest.approx(torch.linalg.eigvals(jacobian).abs().max().item(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_checkpoints_of_lightning_rebuild_the_model(name, tmp_path):
    model = ARCHITECTURES[name](SMALL[name], training=Training(lr=0.5))
    trainer = Trainer(max_steps=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    trainer.fit(model, full_batches(torch.rand(2, *model.config.shape)))
    trainer.save_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    again = ARCHITECTURES[name].load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert again.config == model.config
    assert again.training_config.lr == 0.5


def test_fully_connected_layers():
    model = FullyConnected(shape=(1, 28, 28), depth=14, width=128, bias=False, activation="gelu")
    layers = [layer for layer in model.net if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == [784, *[128] * 13]
    assert len([layer for layer in model.net if isinstance(layer, nn.GELU)]) == 13
    assert all(layer.bias is None for layer in layers)
    assert model.net[-2] is layers[-1]


def test_d1_halves_down_to_one_pixel_and_doubles_back():
    model = D1()
    narrowest = next(i for i, layer in enumerate(model.net) if isinstance(layer, nn.Upsample))
    encode = model.net[:narrowest]
    decode = model.net[narrowest:]
    x = torch.rand(2, 3, 32, 32)
    latent = encode(x)
    assert latent.shape == (2, 128, 1, 1)
    assert decode(latent).shape == x.shape
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.net) == 10


def test_linear_d1_is_linear():
    model = D1(shape=(1, 8, 8), filters=4)
    (x, y) = torch.rand(2, 1, 1, 8, 8)
    torch.testing.assert_close(model(2 * x - 3 * y), 2 * model(x) - 3 * model(y))


def test_d1_equals_its_definition():
    model = D1(shape=(2, 4, 4), filters=3, activation="leaky_relu", bias=True)
    convolutions = [layer for layer in model.net if isinstance(layer, nn.Conv2d)]
    x = y = torch.rand(5, 2, 4, 4)
    for i, layer in enumerate(convolutions):
        if i >= 2:  # decoder: every pixel becomes four
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        y = nn.functional.conv2d(y, layer.weight, layer.bias, stride=2 if i < 2 else 1, padding=1)
        y = torch.maximum(y, 0.01 * y) if i < 3 else y
    torch.testing.assert_close(model(x), y)


def test_d1_wants_powers_of_two():
    with pytest.raises(ValidationError, match=r"side must be a power of 2, got \(3, 28, 28\)"):
        D1(shape=(3, 28, 28))


def test_wrong_input_shape():
    with pytest.raises(NotASelfMapError, match=r"D1 maps batches of shape \(B, 3, 8, 8\), got \(1, 3, 9, 9\)"):
        D1(shape=(3, 8, 8), filters=2)(torch.zeros(1, 3, 9, 9))


def test_configs_are_frozen_and_strict():
    model = FullyConnected(depth=2)
    with pytest.raises(ValidationError, match="frozen"):
        model.config.depth = 3
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        FullyConnected(deph=3)
    with pytest.raises(ValidationError, match="greater than 0"):
        FullyConnected(depth=0)
    with pytest.raises(ValidationError, match="'relu'"):
        FullyConnected(activation="rleu")
    with pytest.raises(TypeError, match="a config or its fields, not both"):
        FullyConnected({"depth": 2}, width=3)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # bounds and deviations by their definitions, for a layer with fan in 300 and fan out 200
        ("xavier_uniform", math.sqrt(6 / 500) / math.sqrt(3)),
        ("xavier_normal", math.sqrt(2 / 500)),
        ("kaiming_uniform", math.sqrt(2 / 300)),
        ("kaiming_normal", math.sqrt(2 / 300)),
        ("default", math.sqrt(1 / 300) / math.sqrt(3)),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_schemes_have_their_deviation(scheme, expected, gain):
    layer = nn.Linear(300, 200)
    initialise(layer, Initialisation(scheme=scheme, gain=gain))
    gain = 1.0 if scheme == "default" else gain
    assert layer.weight.std().item() == pytest.approx(gain * expected, rel=0.02)
    assert (layer.bias == 0).all() == (scheme != "default")


def test_scaled_and_constant_schemes():
    torch.manual_seed(1)
    plain = nn.Conv2d(3, 4, 3)
    scaled = nn.Conv2d(3, 4, 3)
    scaled.load_state_dict(plain.state_dict())
    initialise(scaled, Initialisation(scheme="scaled", gain=0.25))
    torch.testing.assert_close(scaled.weight, 0.25 * plain.weight)
    initialise(plain, Initialisation(scheme="constant", value=1.8e-3))
    assert (plain.weight == 1.8e-3).all()
    assert (plain.bias == 1.8e-3).all()
    with pytest.raises(ValidationError, match="constant initialisation needs its value"):
        Initialisation(scheme="constant")
    with pytest.raises(ValidationError, match="value is only used by constant"):
        Initialisation(scheme="default", value=1.0)


def test_training_uses_the_configured_optimizer_and_schedule():
    training = Training(optimizer="sgd", lr=0.1, weight_decay=0.01, schedule="cosine", decay=0.5, steps=10)
    model = FullyConnected(SMALL["FullyConnected"], training=training)
    configured = model.configure_optimizers()
    optimizer = configured["optimizer"]
    scheduler = configured["lr_scheduler"]["scheduler"]
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["weight_decay"] == 0.01
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    expected = [0.1] * 6 + [0.05 * (1 + math.cos(math.pi * k / 5)) for k in range(1, 6)]
    assert rates == pytest.approx(expected)


def test_muon_steps_along_every_direction_of_the_gradient_alike():
    torch.manual_seed(0)
    model = FullyConnected(shape=(1, 4, 4), depth=2, width=32, training={"optimizer": "muon", "lr": 0.01})
    layers = [layer for layer in model.net if isinstance(layer, nn.Linear)]
    before = [layer.weight.detach().clone() for layer in layers]
    optimizer = model.configure_optimizers()["optimizer"]
    model.objective(torch.rand(64, 1, 4, 4))[1].backward()
    gradients = [torch.linalg.svd(layer.weight.grad).S for layer in layers]
    optimizer.step()
    for layer, old, gradient in zip(layers, before, gradients, strict=True):
        values = torch.linalg.svd(layer.weight.detach() - old).S / (0.2 * 0.01 * math.sqrt(32))  # Adam's scale
        assert gradient[0] > 20 * gradient[10]
        assert values[0] < 1.25  # five iterations of Newton and Schulz bring all but the smallest near 1
        assert values[10] > 0.7


@pytest.mark.parametrize("fails", [False, True])
def test_denormals_are_flushed_while_training_only(fails):
    seen = []

    class Watching(nn.Identity):
        def forward(self, x):
            seen.append(flushes_denormals())
            if fails:
                raise RuntimeError("no")
            return x

    model = FullyConnected(SMALL["FullyConnected"])
    model.net.append(Watching())
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(RuntimeError, match="no") if fails else nullcontext():
        trainer.fit(model, full_batches(torch.rand(2, 1, 4, 4)))
    assert seen == [True]
    assert not flushes_denormals()


@pytest.mark.parametrize("name", ["LinearAutoencoder", "OneLayerAutoencoder", "WideReLU"])
def test_closed_forms_want_images_of_the_network(name):
    with pytest.raises(NotASelfMapError, match=rf"{name} maps batches of shape \(B, 1, 4, 4\), got \(2, 1, 3, 3\)"):
        small(name).fit_closed_form(torch.rand(2, 1, 3, 3))
