import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from load_folder import load_folder
from safetensors.torch import load_file, save_file

import memzoo
from memzoo.data import Selection, full_batches
from memzoo.errors import (
    CheckpointMissingError,
    CorruptCheckpointError,
    FingerprintError,
    RegistryError,
    UnknownCheckpointError,
)
from memzoo.zoo.entry import Images
from memzoo.zoo.loading.building import _asks_for, _find_numbers, build
from memzoo.zoo.loading.loader import _shorten, check_images
from memzoo.zoo.loading.locating import is_available, locate, read_entry
from memzoo.zoo.registry.files import read_tensors
from memzoo.zoo.registry.registries import home

ID = "mnist20-fc14x128"


@pytest.fixture
def folder(tmp_path):
    """Copy a real checkpoint, which a test may then damage."""
    return Path(shutil.copytree(home() / "checkpoints" / ID, tmp_path / ID))


def test_load_gives_an_eval_model_with_its_images_and_entry():
    model = memzoo.load("fig3b")  # an alias
    assert not model.training
    assert model.entry.id == ID
    assert model.examples.shape == (20, 1, 28, 28)
    assert model.probes.shape == (1000, 1, 28, 28)
    assert 0 <= model.examples.min() < model.examples.max() <= 1
    assert model(model.examples).shape == model.examples.shape


def test_local_folder_equals_the_registry_bit_for_bit(folder):
    local = memzoo.load(f"local-dir:{folder}")
    ours = memzoo.load(ID)
    assert local.entry is None
    assert all(torch.equal(value, local.state_dict()[name]) for name, value in ours.state_dict().items())


def test_unknown_id_names_the_nearest():
    with pytest.raises(
        UnknownCheckpointError, match=r"no checkpoint 'mnist20-fc14x182'\. Did you mean mnist20-fc14x128"
    ):
        memzoo.load("mnist20-fc14x182")
    with pytest.raises(
        UnknownCheckpointError,
        match=r"no checkpoint '%%%'\. There are: cifar10-d1, .* and \d+ more \(memzoo list\)",
    ):
        memzoo.create("%%%")


def test_a_missing_folder_or_file_is_named(folder, tmp_path):
    with pytest.raises(CheckpointMissingError, match=r"no such folder .*give the folder that holds config\.json"):
        memzoo.load(f"local-dir:{tmp_path / 'nothing'}")
    with pytest.raises(CheckpointMissingError, match=r"no such folder .*give the folder that holds config\.json"):
        load_folder(tmp_path / "nothing", memzoo.info(ID))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointMissingError, match=r"model\.safetensors is missing"):
        load_folder(folder, memzoo.info(ID))
    with pytest.raises(CheckpointMissingError, match=r"model\.safetensors is missing"):
        memzoo.load(f"local-dir:{folder}")


FILES = ["model.safetensors", "examples.safetensors", "config.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptCheckpointError, match=rf"{name} has \d+ bytes, the registry says \d+: cut short"):
        load_folder(folder, memzoo.info(ID))
    with pytest.raises(CorruptCheckpointError, match=r"no readable safetensors file|is no JSON"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 0.3, 0.999])
def test_a_flipped_bit_is_noticed(folder, name, where):
    path = folder / name
    content = bytearray(path.read_bytes())
    # in the header, in the numbers, and at the end
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=rf"{name} has SHA-256 .* the registry says .*changed or damaged"):
        load_folder(folder, memzoo.info(ID))


def test_a_web_page_in_place_of_weights_is_refused(folder):
    (folder / "model.safetensors").write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    for attempt in (lambda: load_folder(folder, memzoo.info(ID)), lambda: memzoo.load(f"local-dir:{folder}")):
        with pytest.raises(CorruptCheckpointError, match=r"is an HTML page, not weights: the download got an error"):
            attempt()


def edit_config(folder, **changes):
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    saved["config"].update(changes)
    path.write_text(json.dumps(saved))


def test_changed_activation_fails_the_fingerprint(folder):
    edit_config(folder, activation="gelu")
    with pytest.raises(FingerprintError, match=r"weights fit, but the network computes another function.*activation"):
        memzoo.load(f"local-dir:{folder}")


def test_registry_and_config_must_agree(folder):
    entry = memzoo.info(ID)
    changed = entry.model_copy(update={"config": {**entry.config, "activation": "gelu"}})
    with pytest.raises(CorruptCheckpointError, match=r"config\.json describes FullyConnected .*the registry .*gelu"):
        load_folder(folder, changed)


def test_both_changed_still_fails_the_fingerprint(folder):
    from memzoo.zoo.registry.files import describe

    edit_config(folder, activation="gelu")
    entry = memzoo.info(ID)
    files = {**entry.files, "config.json": describe(folder / "config.json")}
    with pytest.raises(FingerprintError, match="another function"):
        load_folder(folder, entry.model_copy(update={"config": {**entry.config, "activation": "gelu"}, "files": files}))


def test_the_configuration_of_another_network_is_refused(folder):
    edit_config(folder, depth=13)
    with pytest.raises(CorruptCheckpointError, match=r"does not fit FullyConnected: .*unexpected \['net\.27\.bias'"):
        memzoo.load(f"local-dir:{folder}")
    edit_config(folder, depth=14, width=64)
    with pytest.raises(CorruptCheckpointError, match=r"net\.1\.bias is \(128,\) .*needs \(64,\)"):
        memzoo.load(f"local-dir:{folder}")
    edit_config(folder, activation="nope")
    with pytest.raises(CorruptCheckpointError, match=r"(?s)not a memzoo configuration.*activation"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("net.1.bias"), r"missing \['net\.1\.bias'\], unexpected nothing"),
        (lambda t: t.update(extra=torch.zeros(1)), r"missing nothing, unexpected \['extra'\]"),
        (lambda t: t["net.1.bias"].fill_(torch.nan), r"net\.1\.bias holds NaN or infinity"),
        (lambda t: t.update({"net.1.bias": t["net.1.bias"].double()}), r"net\.1\.bias is \(128,\) torch\.float64"),
    ],
)
def test_keys_types_and_values_are_strict(folder, change, message):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load(f"local-dir:{folder}")


class Touch:
    """Leave a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", FILES)
def test_pickles_are_never_opened_by_content(folder, tmp_path, name, protocol):
    (folder / name).write_bytes(pickle.dumps(Touch(tmp_path / "ran"), protocol))
    with pytest.raises(CorruptCheckpointError, match=r"is a pickle .*not opened|no readable safetensors|is no JSON"):
        memzoo.load(f"local-dir:{folder}")
    with pytest.raises(CorruptCheckpointError):
        load_folder(folder, memzoo.info(ID))
    # the pickle would have made this file
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran"), protocol))  # this is how it would have looked
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_not_opened(folder, zipped):
    torch.save({"net.1.weight": torch.zeros(1)}, folder / "model.safetensors", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CorruptCheckpointError, match=r"is a pickle .* was not opened: a pickle can run any code"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickles_are_refused_by_name(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(CorruptCheckpointError, match=rf"holds {name}, which may be a pickle and was not opened"):
        memzoo.load(f"local-dir:{folder}")


def test_a_header_that_begins_like_a_pickle_is_one_of_safetensors(tmp_path):
    # the length of the header, 0x0280 bytes, comes first: 80 02
    for length in range(1, 700):
        save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"note": "n" * length})
        if (tmp_path / "x.safetensors").read_bytes()[:2] == b"\x80\x02":
            break
    else:
        raise AssertionError("no such length")
    assert read_tensors(tmp_path / "x.safetensors")["a"] == 0


def test_a_pointer_of_git_lfs_is_refused(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CorruptCheckpointError, match=r"is a Git LFS pointer, not weights.*git lfs pull"):
        memzoo.load(f"local-dir:{folder}")


def test_a_file_of_images_without_starts_is_refused(folder):
    save_file({"examples": torch.rand(2, 1, 28, 28)}, folder / "examples.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"must hold 'examples' and 'probes' as uint8"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("count", [0, 2])
def test_images_of_another_shape_are_refused(folder, count):
    images = {"examples": torch.zeros(2, 1, 28, 28).byte(), "probes": torch.zeros(count, 1, 28, 28 - count).byte()}
    save_file(images, folder / "examples.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"probes are .*, the network maps \(1, 28, 28\)"):
        memzoo.load(f"local-dir:{folder}")


def test_the_caller_s_default_dtype_does_not_matter(monkeypatch):
    torch.set_default_dtype(torch.float64)
    try:
        assert next(memzoo.load(ID).parameters()).dtype == torch.float32
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_name_must_be_a_string():
    with pytest.raises(TypeError, match=r"named by a string such as 'cifar10-d1', got None"):
        memzoo.load(None)


def test_create_is_seeded_untrained_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    one, same, other = (memzoo.create(ID, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weight = "net.1.weight"
    assert torch.equal(one.state_dict()[weight], same.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])
    assert one.examples is None


def test_a_loaded_model_can_be_trained_on():
    model = memzoo.load(ID).train()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
    trainer = Trainer(**options, enable_model_summary=False)
    trainer.fit(model, full_batches(model.examples))
    assert trainer.callback_metrics["train/loss"] < 1e-6


@pytest.mark.parametrize("id", memzoo.list_models())
def test_every_checkpoint_loads_as_a_stranger_s(id):
    assert memzoo.load(f"local-dir:{home() / 'checkpoints' / id}").entry is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 10**5}, r"needs \(100000"),
        ({"width": 10**7}, r"by the number 10000000, .*do not belong"),
        ({"depth": 10**5}, r"of more than 1\d\d\d parameters.*do not belong"),
        ({"depth": float("nan")}, r"config\.depth: "),
        ({"depth": 10**7}, r"by the number 10000000, .*do not belong"),
        ({"depth": 1e30}, r"config\.depth: .*exceeded maximum size"),
        ({"depth": "14"}, r"config\.depth is the text '14', which must be a number"),
        ({"width": "9" * 5000}, r"config\.width: .*exceeded maximum size"),
        ({"shape": [10**5, 10**5]}, r"examples are \(20, 1, 28, 28\), the network maps \(100000, 100000\)"),
        ({"shape": [1, "28", 28]}, r"config\.shape\.1 is the text '28', which must be a number"),
        ({"init": {"scheme": "scaled", "gain": "2"}}, r"config\.init\.gain is the text '2', which must be a number"),
        ({"activation": ["relu"]}, r"config\.activation: "),
    ],
)
def test_a_stranger_s_configuration_that_would_take_long_or_much_is_refused_at_once(folder, change, message):
    edit_config(folder, **change)
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        ("Ensemble", {"member": {"shape": [1, 28, 28], "depth": "3"}, "architecture": "FullyConnected"}, "is the text"),
        ("Ensemble", {"architecture": ["FullyConnected"]}, "one architecture of the table, got"),
        ("Ensemble", {"member": []}, "not a memzoo configuration"),
        ("Ensemble", {"members": [5]}, "not a memzoo configuration"),
        ("Ensemble", {"shape": 5}, "not a memzoo configuration"),
        (
            "TimmAutoencoder",
            {"options": {"act_layer": "none such"}},
            r"the network maps \(3, 32, 32\)",
        ),
        ("TimmAutoencoder", {"shape": [1, 28, 28], "options": {"act_layer": "none such"}}, "timm could not build"),
        ("TimmAutoencoder", {"shape": [1, 28, 28], "options": {"layers": 3}}, "timm could not build"),
        (
            "TimmAutoencoder",
            {"shape": [1, 28, 28], "options": {"layers": [9**5, 1, 1, 1]}},
            "parameters, .*do not belong",
        ),
        ("TimmAutoencoder", {"backbone": "hf-hub:a/b"}, "timm has no model"),
        (
            "TimmAutoencoder",
            {"options": {"rate": float("nan"), "layers": [10**9]}, "shape": [1, 28, 28]},
            "by the number nan, .*do not belong",
        ),
        ("UNet", {"depth": 10**6, "shape": [1, 28, 28]}, "not a memzoo configuration"),
    ],
)
def test_a_configuration_with_which_an_architecture_fails_is_refused(folder, architecture, config, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": architecture, "config": config}))
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load(f"local-dir:{folder}")


def test_a_tensor_without_numbers_allows_no_large_network(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "empty": torch.zeros(10**9, 0)}, folder / "model.safetensors")
    edit_config(folder, depth=10**8)
    with pytest.raises(CorruptCheckpointError, match=r"by the number 100000000, .*do not belong"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "id": "b"}', "key 'id' stands twice"),
        ('{"config": {"depth": 1, "depth": 2}}', "key 'depth' stands twice"),
        ('{"a": ' + "9" * 5000 + "}", "the number 9+... has 5000 digits, more than 40"),
        ('{"a": "\\ud800"}', r"'\\ud800' holds half of a surrogate pair"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "is no JSON"),
        ("[" + "[], " * 30_000 + "[]]", "more than 50,000 values"),
        (" " * 9_000_000, "more than 8,000,000 bytes"),
        ("{}", r"id: Field required; architecture: Field required; config: Field required; training: .*required\.$"),
        ("{" + ", ".join(f'"x{number}": 1' for number in range(50)) + "}", r"; and \d+ more\.$"),
        ('{"a\\u001b[31m": 1}', r"a\\x1b\[31m: Extra inputs"),
    ],
    ids=lambda value: value[:12],
)
def test_a_stranger_s_configuration_is_read_within_limits(folder, content, message):
    (folder / "config.json").write_text(content)
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("stated", ["0:1000000", "0:29", "0:31", "[1, 2]"])
def test_an_entry_must_describe_as_many_images_as_there_are(small, tmp_path, stated):
    folder = shutil.copytree(small.parent / "checkpoints/small-fc", tmp_path / "copy")
    text = small.read_text()
    assert "indices: 0:30" in text
    (folder / "entry.yaml").write_text(text.replace("indices: 0:30", f"indices: {stated}"))
    with pytest.raises(CorruptCheckpointError, match=r"describes \(\d+,\) images of .*, and \(30, 1, 28, 28\) are"):
        memzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize("nested", [False, True])
def test_a_configuration_must_not_ask_for_weights_from_elsewhere(folder, nested):
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    member = {"shape": [3, 32, 32], "backbone": "test_resnet", "pretrained": True}
    ensemble = {"architecture": "TimmAutoencoder", "members": 1, "member": member}
    kind = "Ensemble" if nested else "TimmAutoencoder"
    text = json.dumps({**saved, "architecture": kind, "config": ensemble if nested else member})
    path.write_text(text)
    with pytest.raises(CorruptCheckpointError, match="asks for pretrained weights from elsewhere"):
        memzoo.load(f"local-dir:{folder}")


def test_loading_draws_nothing_from_the_global_generator():
    state = torch.get_rng_state()
    memzoo.load(ID)
    assert torch.equal(torch.get_rng_state(), state)


def test_yaml_aliases_in_the_entry_of_a_stranger_are_refused(folder):
    (folder / "entry.yaml").write_text("a: &x [1]\nb: *x\n")
    with pytest.raises(RegistryError, match="uses YAML aliases, which can make a small file huge"):
        memzoo.load(f"local-dir:{folder}")


def test_the_home_of_an_unknown_user_is_a_missing_folder():
    with pytest.raises(CheckpointMissingError, match="no such folder"):
        memzoo.load("local-dir:~nosuchuser/x")


@pytest.mark.parametrize(
    ("config", "asks"),
    [
        ({}, False),
        ({"pretrained": False}, False),
        ({"pretrained": True}, True),
        ({"member": {"pretrained": "imagenet"}}, True),
        ({"members": [{"depth": 2}, {"pretrained": 1}]}, True),
        ({"members": ["pretrained"], "activation": "pretrained"}, False),
        ([[{"pretrained": True}]], True),
        ("pretrained", False),
    ],
)
def test_a_request_for_weights_from_elsewhere_is_found_at_any_depth(config, asks):
    assert _asks_for(config, "pretrained") is asks


def test_numbers_are_found_at_any_depth():
    config = {"depth": 3, "width": 9, "member": {"depth": 7, "units": "many", "deeper": {"units": 2}}, "list": [5]}
    assert sorted(_find_numbers(config)) == [2, 3, 5, 7, 9]
    assert _find_numbers("3") == []


def test_a_long_configuration_is_cut_in_a_message():
    assert _shorten({"depth": 2}) == "{'depth': 2}"
    long = _shorten({"layers": [{"units": number} for number in range(1000)]})
    assert 500 < len(long) <= 600
    assert long.endswith(" ...")


def test_an_entry_that_travels_must_be_the_only_one_and_complete(small, tmp_path):
    path = tmp_path / "entry.yaml"
    shutil.copy(small, path)
    assert read_entry(path).id == "small-fc"
    entry = yaml.safe_load(small.read_text())["small-fc"]
    unfinished = {key: value for key, value in entry.items() if key not in ("fingerprint", "files", "steps")}
    both = {"small-fc": entry, "other": {**entry, "aliases": []}}
    for entries, count in ((both, 2), ({}, 0), ({"small-fc": unfinished}, 1)):
        path.write_text(json.dumps(entries, default=str))  # which is YAML too
        with pytest.raises(CorruptCheckpointError, match=rf"must hold one complete entry, got {count}"):
            read_entry(path)


def test_availability_is_told_without_loading(folder, tmp_path):
    assert is_available(ID)
    assert is_available(f"local-dir:{folder}")
    assert not is_available(f"local-dir:{tmp_path / 'nothing'}")
    with pytest.raises(UnknownCheckpointError, match="no checkpoint 'no-such-checkpoint'"):
        is_available("no-such-checkpoint")


def test_a_registered_checkpoint_without_files_is_missing(small):
    memzoo.register(small)
    assert is_available("small-fc")
    shutil.rmtree(small.parent / "checkpoints/small-fc")
    assert not is_available("small-fc")
    with pytest.raises(CheckpointMissingError, match="of small-fc are in none of the three places"):
        memzoo.load("small-fc")
    with pytest.raises(CheckpointMissingError, match="small-fc is not on the Hub, so it has no revisions"):
        memzoo.load("small-fc@main")


def test_weights_of_kept_steps_load_by_their_number(small):
    memzoo.register(small)
    assert memzoo.load("small-fc", step=100).entry.id == "small-fc"
    with pytest.raises(UnknownCheckpointError, match=r"no weights of step 150: kept were 100, 200, and the end"):
        memzoo.load("small-fc", step=150)
    with pytest.raises(UnknownCheckpointError, match=r"no weights of step 5: only its end was kept"):
        memzoo.load(ID, step=5)
    weights = [memzoo.load("small-fc", step=step).state_dict()["net.1.weight"] for step in (100, 200, None)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_images_are_read_as_they_are_stored(small, kind):
    path = small.parent / "checkpoints/small-fc"
    images = {"examples": torch.ones(2, 1, 28, 28).to(kind), "probes": torch.zeros(1, 1, 28, 28).to(kind)}
    save_file(images, path / "examples.safetensors")
    model = load_folder(path)
    assert model.examples.dtype == torch.float32
    assert model.examples.max() == (1 / 255 if kind == torch.uint8 else 1)
    for wrong in (
        {**images, "more": torch.zeros(1)},
        {"examples": images["examples"]},
        {**images, "probes": images["probes"].double()},
    ):
        save_file(wrong, path / "examples.safetensors")
        with pytest.raises(CorruptCheckpointError, match="must hold 'examples' and 'probes' as uint8 or float32"):
            load_folder(path)
    for wrong in (torch.zeros(0, 1, 28, 28), torch.zeros(1, 1, 28, 27), torch.zeros(1, 28, 28)):
        save_file({**images, "examples": wrong.to(kind)}, path / "examples.safetensors")
        with pytest.raises(CorruptCheckpointError, match=r"examples are .*, the network maps \(1, 28, 28\)"):
            load_folder(path)


def test_an_unknown_architecture_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownCheckpointError, match=r"no architecture 'FullyConnectd'\. Did you mean FullyConnected"):
        build("FullyConnectd", {}, {})


def test_a_recipe_without_weights_cannot_be_loaded(small):
    entry = yaml.safe_load(small.read_text())["small-fc"]
    unfinished = {key: value for key, value in entry.items() if key not in ("fingerprint", "files", "steps")}
    small.write_text(json.dumps({"small-fc": unfinished}, default=str))
    memzoo.register(small)
    with pytest.raises(CheckpointMissingError, match=r"small-fc has a recipe but no weights yet; .*memzoo train small"):
        memzoo.load("small-fc")


def test_a_file_without_a_hash_is_not_taken(small):
    memzoo.register(small)
    found = locate("small-fc")
    assert found.find_file("config.json").name == "config.json"
    with pytest.raises(CorruptCheckpointError, match=r"small-fc names no hash for README\.md; add it"):
        found.find_file("README.md")


def test_images_are_those_that_the_registry_names():
    images = (torch.arange(8).reshape(2, 1, 2, 2) * 9).byte()
    chosen = Selection("mnist", "train", (3, 5), images)
    one = Images(dataset="mnist", split="train", indices="3:5", sha256=chosen.digest)
    each = Images(dataset="mnist", split="train", indices=[3, 5], sha256=list(chosen.sha256))
    for about in (one, each):
        assert check_images(chosen, about) is chosen
        with pytest.raises(CorruptCheckpointError, match=r"SHA-256 .* wanted"):
            check_images(Selection("mnist", "train", (3, 5), images + 1), about)
    with pytest.raises(
        CorruptCheckpointError, match=r"the 2 images of mnist/train \[3:5\] have SHA-256 .* in all, wanted"
    ):
        check_images(Selection("mnist", "train", (3, 5), images.flip(0)), one)
