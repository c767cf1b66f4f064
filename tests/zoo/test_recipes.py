"""Recipes beyond a few images in one batch: mini-batches, formulas, large training sets, interrupted runs."""

import math
from datetime import timedelta
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

import memzoo
from memzoo.data import image_sha256, points
from memzoo.zoo import train
from memzoo.zoo.registry_file import entry_yaml, parse_entry
from memzoo.zoo.trainer_options import TrainerOptionError, trainer_options

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
STEPS = 60


def registered(tmp_path, monkeypatch, **changes: Any) -> str:
    """Register a small network on fifty points of the Swiss roll, of which it may keep only some."""
    shape = (3,)
    examples, probes = (
        points("swissroll", range(50), shape),
        points("swissroll", range(0, 1000, 50), shape, split="test"),
    )
    about = {"dataset": "swissroll", "split": "train", "indices": "0:50", "sha256": examples.digest}
    content = {
        "title": "A test",
        "architecture": "FullyConnected",
        "config": {"shape": shape, "depth": 3, "width": 64},
        "examples": about,
        "probes": {
            "dataset": "swissroll",
            "split": "test",
            "indices": list(probes.indices),
            "sha256": [image_sha256(image) for image in probes.images],
        },
        "recipe": {
            "training": {"optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "steps": STEPS},
            "seed": 3,
            "batch_size": 20,
            "steps_per_epoch": 6,
            "keep": [30],
        },
        "facts": [{"name": "loss", "measure": "mean_squared_error", "tolerance": 1e-6}],
        "rights": {"data": "a formula", "reproduces_training_images": True},
        **changes,
    }
    path = tmp_path / "registry.yaml"
    path.write_text(entry_yaml(parse_entry("test-roll", content, path)))
    memzoo.register(path)
    return "test-roll"


def test_mini_batches_are_those_of_the_recipe(tmp_path, monkeypatch):
    name = registered(tmp_path, monkeypatch)
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch[0].clone())

    train(name, tmp_path / "a", callbacks=[Watch()], **QUIET)
    assert [len(batch) for batch in seen[:6]] == [20, 20, 10, 20, 20, 10]  # an epoch: two passes
    everything = points("swissroll", range(50), (3,)).images
    for first in (0, 3):
        rows = torch.cat(seen[first : first + 3])
        assert torch.equal(rows[rows[:, 0].argsort()], everything[everything[:, 0].argsort()])
    assert not torch.equal(seen[0], seen[6])
    assert len(seen) == STEPS


class Stop(Callback):
    """As a power cut would, as far as the run is concerned."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 40:
            raise RuntimeError("cut")


def test_an_interrupted_run_is_gone_on_with(tmp_path, monkeypatch):
    name = registered(tmp_path, monkeypatch)
    monkeypatch.setattr("memzoo.zoo.unfinished.SAVES", timedelta(0))
    whole, rows = train(name, tmp_path / "whole", **QUIET)
    with pytest.raises(RuntimeError, match="cut"):
        train(name, tmp_path / "cut", callbacks=[Stop()], **QUIET)
    assert not (tmp_path / "cut" / name).exists()
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(trainer.global_step)

    resumed, again = train(name, tmp_path / "cut", callbacks=[Watch()], **QUIET)
    assert seen[0] == 36  # the last epoch's end
    assert not (tmp_path / "cut" / f"{name}.unfinished").exists()
    for step in (None, 30):
        one, other = (memzoo.load(f"local-dir:{folder}", step=step).state_dict() for folder in (whole, resumed))
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert [row.measured for row in rows] == [row.measured for row in again]
    assert (whole / "history.json").read_text().split('"measured"')[0] == (
        (resumed / "history.json").read_text().split('"measured"')[0]
    )


def test_a_run_of_another_seed_is_not_gone_on_with(tmp_path, monkeypatch):
    name = registered(tmp_path, monkeypatch)
    monkeypatch.setattr("memzoo.zoo.unfinished.SAVES", timedelta(0))
    with pytest.raises(RuntimeError, match="cut"):
        train(name, tmp_path, callbacks=[Stop()], **QUIET)
    with pytest.raises(FileExistsError, match=r"unfinished run of another recipe or seed; remove it to begin anew"):
        train(name, tmp_path, seed=4, **QUIET)


def test_of_a_large_set_only_what_is_reached_travels(tmp_path, monkeypatch):
    few = points("swissroll", [0], (3,))
    whole = {"dataset": "swissroll", "split": "train", "indices": "0:50"}
    digest = points("swissroll", range(50), (3,)).digest
    name = registered(
        tmp_path,
        monkeypatch,
        examples={**whole, "indices": [0], "sha256": list(few.sha256)},
        training_set={**whole, "sha256": digest},
        facts=[
            {"name": "all", "measure": "whole_error", "tolerance": 1e-6},
            {"name": "those", "measure": "mean_squared_error", "tolerance": 1e-6},
            {"name": "captured", "measure": "probes_captured"},
        ],
    )
    folder, rows = train(name, tmp_path / "out", **QUIET)
    model = memzoo.load(f"local-dir:{folder}")
    assert model.examples is not None
    assert 2 <= len(model.examples) < 50
    everything = points("swissroll", range(50), (3,)).images
    at = model.entry.examples.positions()
    assert torch.equal(model.examples, everything[at])
    with torch.no_grad():
        error = (model(everything) - everything).square().mean().item()
    assert rows[0].measured == pytest.approx(error, rel=1e-5)

    without = memzoo.verify(f"local-dir:{folder}")
    assert [row.recomputed for row in without.rows] == [False, True, True]
    assert math.isnan(without.rows[0].measured)
    assert without.verdict == "provisional"
    assert "not recomputed: --data DIR" in str(without)
    assert memzoo.verify(f"local-dir:{folder}", data_root=tmp_path).verdict == "verified"
    card = (folder / "README.md").read_text()
    assert "shuffled batches of 20 of all 50 images, of which only those travel that iteration reaches" in card


def test_trainer_options_come_from_the_command_line():
    options = trainer_options(["--trainer.devices", "2", "--trainer.precision=bf16-mixed", "--trainer.logger", "false"])
    assert options == {"devices": "2", "precision": "bf16-mixed", "logger": False}
    assert trainer_options([]) == {}
    with pytest.raises(TrainerOptionError, match=r"not an option of the Trainer"):
        trainer_options(["--trainer.wings", "2"])
