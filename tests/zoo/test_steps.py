"""Weights kept on the way: made by training, loaded by step, verified like the last ones."""

import re

import pytest
import torch
import yaml
from safetensors.torch import load_file

import memzoo
from memzoo.errors import CorruptCheckpointError, RegistryError, UnknownCheckpointError
from memzoo.zoo import train
from memzoo.zoo.entry import Recipe
from memzoo.zoo.registry.registry_file import parse_registry

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


def test_a_step_loads_by_its_number(small):
    memzoo.register(small)
    final = memzoo.load("small-fc")
    early = memzoo.load("small-fc", step=100)
    stored = load_file(small.parent / "checkpoints/small-fc/step-100.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in early.state_dict().items())
    assert not torch.equal(final.net[1].weight, early.net[1].weight)
    assert not early.training
    with pytest.raises(
        UnknownCheckpointError, match="small-fc has no weights of step 50: kept were 100, 200, and the end"
    ):
        memzoo.load("small-fc", step=50)
    with pytest.raises(UnknownCheckpointError, match="cifar10-d1 has no weights of step 7: only its end was kept"):
        memzoo.load("cifar10-d1", step=7)
    folder = small.parent / "checkpoints/small-fc"
    assert torch.equal(memzoo.load(f"local-dir:{folder}", step=200).net[1].weight, load_step(folder, 200))


def load_step(folder, step):
    return load_file(folder / f"step-{step}.safetensors")["net.1.weight"]


def test_a_damaged_step_is_found_by_load_and_by_verify(small):
    memzoo.register(small)
    path = small.parent / "checkpoints/small-fc/step-200.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    memzoo.load("small-fc")
    for attempt in (lambda: memzoo.load("small-fc", step=200), lambda: memzoo.verify("small-fc")):
        with pytest.raises(CorruptCheckpointError, match=r"step-200\.safetensors has SHA-256"):
            attempt()


def test_a_fact_of_a_step_that_is_not_stored_cannot_be_verified(small):
    content = yaml.safe_load(small.read_text())
    entry = content["small-fc"]
    entry["recipe"]["keep"] = [100, 200, 300]
    entry["facts"][0]["step"] = 300
    small.write_text(yaml.safe_dump(content))
    memzoo.register(small)
    with pytest.raises(UnknownCheckpointError, match="has no weights of step 300: kept were 100, 200, and the end"):
        memzoo.verify("small-fc")


def test_steps_that_changed_places_fail_the_fingerprint(small):
    folder = small.parent / "checkpoints/small-fc"
    one, two = (folder / f"step-{step}.safetensors" for step in (100, 200))
    content = one.read_bytes(), two.read_bytes()
    one.write_bytes(content[1])
    with pytest.raises(memzoo.errors.FingerprintError, match="computes another function"):
        memzoo.load(f"local-dir:{folder}", step=100)


def test_training_keeps_the_steps_of_the_recipe(small, tmp_path):
    entry = yaml.safe_load(small.read_text())
    entry["small-fc"]["recipe"] |= {"keep": [4, 8], "steps_per_epoch": 5}
    entry["small-fc"]["recipe"]["training"]["steps"] = 12
    fact = entry["small-fc"]["facts"][0]
    entry["small-fc"]["facts"] = [{**fact, "ours": None}, {**fact, "name": "early loss", "step": 4, "ours": None}]
    for key in ("steps", "files", "fingerprint"):
        del entry["small-fc"][key]
    small.write_text(yaml.safe_dump(entry))
    memzoo.register(small)
    folder, rows = train("small-fc", tmp_path / "runs", **QUIET)
    done = parse_registry((folder / "entry.yaml").read_text(), folder)["small-fc"]
    found = {step: about.epoch for step, about in done.steps.items()}
    assert found == {4: 1, 8: 2}
    assert {"step-4.safetensors", "step-8.safetensors"} <= done.files.keys()
    late, early = (row.measured for row in rows)
    assert late < early  # it learns
    name = f"local-dir:{folder}"
    x = memzoo.load(name).examples
    for step, wanted in ((None, late), (4, early)):
        model = memzoo.load(name, step=step)
        found = (model(x) - x).square().mean().item()
        assert found == pytest.approx(wanted, rel=1e-4)
    assert memzoo.verify(name).verdict == "verified"
    history = memzoo.zoo.read_history(folder / "history.json")
    assert [step for step, _ in history.loss] == list(range(12))
    assert history.loss[0][1] > history.loss[-1][1] > 0
    assert history.same_run


@pytest.mark.parametrize(("keep", "batch"), [([2000], 1), ([150], 100)])
def test_a_recipe_cannot_keep_what_it_does_not_reach(keep, batch):
    with pytest.raises(ValueError, match=rf"steps {re.escape(str(keep))} cannot be kept: the run has 1000"):
        Recipe(training={"steps": 1000, "steps_per_batch": batch}, seed=0, keep=keep)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    100:", "    101:", r"files hold .*step-100.*steps name \[101, 200\]"),
        ("measure: mean_squared_error,", "measure: mean_squared_error, step: 7,", r"facts speak of steps \[7\]"),
    ],
)
def test_steps_files_and_facts_must_agree(small, old, new, message):
    text = small.read_text()
    assert text.count(old) == 1
    small.write_text(text.replace(old, new))
    with pytest.raises(RegistryError, match=message):
        memzoo.register(small)
