"""Every architecture: its place in the tables and on the pages, and what all architectures have in common."""

import functools
import importlib
import json
import math
import pkgutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file, save_file
from torch.func import functional_call

from memzoo import models
from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches
from memzoo.dynamics import spectrum
from memzoo.errors import NotASelfMapError
from memzoo.models import ARCHITECTURES, Autoencoder, Training

# the smallest networks that have every part of their architecture
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
DOCS = Path(__file__).parents[2] / "docs"
QUICK = {"max_steps": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def find_architectures():
    """Return every architecture that a file of memzoo.models defines, by its name."""
    for module in pkgutil.walk_packages(models.__path__, "memzoo.models."):
        importlib.import_module(module.name)
    return {kind.__name__: kind for kind in Autoencoder.__subclasses__() if kind.__module__.startswith("memzoo.")}


def build_small(name, **options):
    """Build a small network of an architecture."""
    assert name in SMALL, f"{name} has no small configuration: add a row to SMALL in tests/models/test_table.py"
    return ARCHITECTURES[name](SMALL[name], **options)


@pytest.mark.parametrize("name", sorted(find_architectures().keys() | ARCHITECTURES.keys() | SMALL.keys()))
def test_every_architecture_is_in_the_tables_and_on_the_pages(name):
    kind = find_architectures().get(name)
    assert kind is not None, f"no file of memzoo/models defines {name}: remove it from the tables, or name the class so"
    assert ARCHITECTURES.get(name) is kind, (
        f"{name} is not in the table of architectures: add a row to SINGLE_NETWORKS in "
        "memzoo/models/architectures/single_networks.py"
    )
    build_small(name)
    for public in (name, kind.config_class.__name__):
        assert public in models.__all__, f"memzoo.models does not show {public}: add it to memzoo/models/__init__.pyi"
        assert f"memzoo.models.{public}\n" in (DOCS / "api.md").read_text(), (
            f"docs/api.md does not describe {public}: add an autoclass of memzoo.models.{public} under Models"
        )
    assert f"| `{name}` |" in (DOCS / "models.md").read_text(), (
        f"docs/models.md does not name {name}: add a row that begins with | `{name}` | to its table of architectures"
    )


@pytest.mark.parametrize("module", [module.name for module in pkgutil.walk_packages(models.__path__, "memzoo.models.")])
def test_every_file_is_in_the_stub_of_its_folder(module):
    folder, _, name = module.rpartition(".")
    stub = Path(importlib.import_module(folder).__file__).with_suffix(".pyi")
    line = f"from . import {name} as {name}"
    assert f"{line}\n" in stub.read_text(), (
        f"{module} is no attribute of {folder}: add '{line}' to {folder.replace('.', '/')}/{stub.name}"
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_round_trips_through_json_and_safetensors(name, tmp_path):
    model = build_small(name).eval()
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
    model = build_small(name, training={"lr": 0.01})
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
    model = build_small(name).eval()
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
        expected = torch.linalg.eigvals(jacobian).abs().max().item()
        assert radius.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_checkpoints_of_lightning_rebuild_the_model(name, tmp_path):
    model = build_small(name, training=Training(lr=0.5))
    trainer = Trainer(max_steps=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    trainer.fit(model, full_batches(torch.rand(2, *model.config.shape)))
    trainer.save_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    again = ARCHITECTURES[name].load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert again.config == model.config
    assert again.training_config.lr == 0.5


@pytest.mark.parametrize("name", ["LinearAutoencoder", "OneLayerAutoencoder", "WideReLU"])
def test_closed_forms_want_images_of_the_network(name):
    with pytest.raises(NotASelfMapError, match=rf"{name} maps batches of shape \(B, 1, 4, 4\), got \(2, 1, 3, 3\)"):
        build_small(name).fit_closed_form(torch.rand(2, 1, 3, 3))
