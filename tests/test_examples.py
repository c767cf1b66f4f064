import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from lightning.pytorch import LightningModule, Trainer
from script_as_notebook import cells, notebook
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.data import full_batches, mnist20

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended")


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_runs_in_reduced_form(tmp_path, capsys):
    last = example("demo").main(steps=500, out=tmp_path / "demo")
    assert last["attractor/fraction"] > 0.5
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["history.png", "trajectories.png"]
    assert "training images are certified attractors" in capsys.readouterr().out


def test_the_tutorial_runs_and_the_notebook_has_the_same_cells(tmp_path, monkeypatch, capsys):
    source = (EXAMPLES / "tutorial.py").read_text()
    stored = json.loads((EXAMPLES / "tutorial.ipynb").read_text())
    assert stored == notebook(source), "run: python tests/support/script_as_notebook.py examples/tutorial.py"
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, text in cells(source):  # as a notebook runs them: one after another, in one namespace
        if kind == "code":
            exec(text.replace("3000", "300"), names)
    output = capsys.readouterr().out
    assert output.count("from training image") == 6
    assert "20 of 20 examples are attractors" in output
    assert "t = 200: 100% of the training images recovered" in output
    assert sorted(path.name for path in (tmp_path / "tutorial").iterdir()) == ["from_noise.png", "mine.png"]


def test_their_own_autoencoder(tmp_path):
    watch = example("own_autoencoder").main(epochs=2, folder=str(tmp_path))
    assert watch.history[-1]["step"] == 100
    assert (tmp_path / "last.ckpt").is_file()


def test_a_variational_autoencoder():
    watch = example("vae").main(epochs=3)
    assert watch.history[-1]["step"] == 3
    assert 0 < watch.history[-1]["attractor/residual"] < 2


@pytest.mark.filterwarnings("ignore:KeepSteps kept nothing of epoch 100")
def test_early_stopping_is_measured_and_its_steps_load(tmp_path, capsys):
    runs = example("early_stopping").main(epochs=(1, 2), most=3, filters=4, out=tmp_path)
    reasons = [watch.stopping_reason for watch in runs.values()]
    assert reasons == ["max_epochs=1 reached", "max_epochs=2 reached", "max_epochs=3 reached"]
    assert capsys.readouterr().out.count("distinct limit") == 3
    folders = ["early-stopping", "early-stopping.png", "epoch-1", "epoch-1.png", "epoch-2", "epoch-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == folders


def test_avoiding_leakage():
    reports = example("avoiding_leakage").main(steps=50)
    assert list(reports) == ["to the end", "stopped before"]


def test_two_processes_measure_what_one_does(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    script = [sys.executable, str(EXAMPLES / "ddp.py"), "--epochs", "3", "--out", str(tmp_path / "found.json")]
    subprocess.run(script, check=True, env=environment, cwd=tmp_path, timeout=300, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text())
    last = found["history"][-1]
    alone = found["alone"]
    for share in ("fraction", "recovered", "converged"):
        assert last[f"attractor/{share}"] == alone[f"attractor/{share}"]
    for value in ("radius_median", "radius_max", "residual"):
        assert last[f"attractor/{value}"] == pytest.approx(alone[f"attractor/{value}"], rel=1e-5)


# Modules that others wrote, measured without an argument, or told which one is needed ---------------------------------


class Perceptron(LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 784))

    def forward(self, x):
        return self.layers(x).view_as(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class TimmEncoder(Perceptron):
    def __init__(self):
        super().__init__()
        self.encoder = timm.create_model("test_resnet", pretrained=False, num_classes=32, in_chans=1)
        self.layers = nn.Sequential(self.encoder, nn.Linear(32, 784))


def fit(module, *callbacks):
    images, _ = mnist20()
    images = images.pixels()[:4]
    Trainer(
        max_epochs=1,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, full_batches(images, steps_per_epoch=2))


@pytest.mark.parametrize("module", [Perceptron, TimmEncoder])
@pytest.mark.parametrize("callback", [AttractorCallback, ContractionCallback])
def test_modules_of_others_need_no_argument(module, callback):
    watch = callback(verbose=False)
    fit(module(), watch)
    assert len(watch.examples) == 4
    assert watch.history[-1][f"{watch.name}/radius_max"] > 0
    assert watch.history[-1][f"{watch.name}/residual"] > 0


@pytest.mark.parametrize("callback", [AttractorCallback, ContractionCallback])
def test_a_variational_autoencoder_needs_no_adapter_that_decodes_the_mean(callback):
    vae = example("vae")
    rows = []
    for adapter in (vae.reconstruct_mean, None):
        torch.manual_seed(0)
        watch = callback(self_map=adapter, verbose=False)
        fit(vae.ConvolutionalVAE(), watch)
        rows.append({key: value for key, value in watch.history[-1].items() if "/" in key})
    assert rows[0] == pytest.approx(rows[1], nan_ok=True)
    assert rows[0][f"{watch.name}/radius_max"] > 0
