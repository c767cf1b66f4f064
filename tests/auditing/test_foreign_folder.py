"""Test that networks in folders of other libraries are loaded as they are, or refused with advice."""

import json
import os
import re
import sys

import pytest
import torch
from safetensors.torch import save_file, save_model

from memzoo.auditing import load_module
from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError
from memzoo.zoo.registry import read_tensors

CODE = """
from dataclasses import dataclass

import torch


class Net(torch.nn.Module):
    def __init__(self, size, hidden=3, bias=True):
        super().__init__()
        self.hidden = hidden
        self.encoder = torch.nn.Linear(size, hidden, bias)
        self.decoder = torch.nn.Linear(hidden, size, bias)
        self.dropout = torch.nn.Dropout()

    def forward(self, x):
        return self.decoder(self.dropout(self.encoder(x.flatten(1)))).reshape(x.shape)


class Tied(Net):
    def __init__(self, size):
        super().__init__(size, hidden=size)
        self.decoder.weight = self.encoder.weight


class Free(Net):
    def __init__(self, size, **others):
        super().__init__(size, **others)


class Fussy(Net):
    def __init__(self, size, hidden=3):
        if hidden > 3:
            raise KeyError("hidden")
        super().__init__(size, hidden)


class Denoiser(Net):
    def forward(self, x, sigma):
        return super().forward(x) / sigma


@dataclass
class Settings:
    size: int
    hidden: int = 3


class FromSettings(Net):
    def __init__(self, settings: Settings, encoder=None):
        super().__init__(settings.size, settings.hidden)


class OldSettings:
    @classmethod
    def from_dict(cls, values):
        found = cls()
        found.__dict__.update(values)
        return found


class FromClassSettings(Net):
    config_class = OldSettings

    def __init__(self, config):
        super().__init__(config.size, config.hidden)


class Shaped(Net):
    def __init__(self, shape: tuple[int, ...], hidden=(4,), names: "list | None" = None, kinds=None):
        assert isinstance(names, list)
        assert isinstance(kinds, list)
        (size,) = () + shape
        (hidden,) = () + hidden
        super().__init__(size, hidden)


class Fetching(Net):
    def __init__(self, size, hidden):
        import huggingface_hub

        huggingface_hub.HfApi(endpoint="http://127.0.0.1:9").model_info("org/name")


class NotAModule:
    pass


NUMBER = 3
"""


class CodeInside:
    """Run code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Enter a folder with the classes of a user, and return their module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("nets")
    sys.modules.pop("nets", None)


@pytest.fixture
def folder(nets, tmp_path):
    """Write a network as other libraries do."""
    path = tmp_path / "run"
    path.mkdir()
    write_config(path, {"_class_name": "Net", "_version": "1.0", "size": 12, "hidden": 4})
    save_model(nets.Net(12, 4), str(path / "model.safetensors"))
    return path


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config))


def shard(folder, *, tensors=None, stem="model"):
    """Replace the weights of a folder by two files and their index."""
    weights = folder / "model.safetensors"
    tensors = read_tensors(weights) if tensors is None else tensors
    weights.unlink(missing_ok=True)
    places = {}
    for number, names in enumerate((sorted(tensors)[:2], sorted(tensors)[2:]), 1):
        name = f"{stem}-{number:05}-of-00002.safetensors"
        save_file({key: tensors[key] for key in names}, folder / name)
        places |= dict.fromkeys(names, name)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def check_same(module, tensors):
    assert not module.training
    assert module.state_dict().keys() == tensors.keys()
    assert all(value.equal(tensors[name]) for name, value in module.state_dict().items())


def test_the_constructor_takes_the_keys_of_the_configuration(nets, folder):
    tensors = read_tensors(folder / "model.safetensors")
    state = torch.random.get_rng_state()
    module = load_module(str(folder), "nets.Net")
    assert type(module) is nets.Net
    assert module.hidden == 4
    check_same(module, tensors)
    assert state.equal(torch.random.get_rng_state())
    # the file itself may be named, with the configuration beside it
    check_same(load_module(str(folder / "model.safetensors"), "nets.Net"), tensors)
    check_same(load_module(str(folder), "nets.Free"), tensors)


def test_the_weights_may_be_in_several_files_with_an_index(folder):
    tensors = read_tensors(folder / "model.safetensors")
    shard(folder)
    check_same(load_module(str(folder), "nets.Net"), tensors)


@pytest.mark.parametrize(
    ("kind", "file"), [("FromSettings", "model_config.json"), ("FromClassSettings", "config.json")]
)
def test_the_constructor_may_take_an_object_with_the_keys(folder, kind, file):
    (folder / "config.json").unlink()
    (folder / file).write_text(json.dumps({"name": "Settings", "size": 12, "hidden": 4}))
    module = load_module(str(folder), f"nets.{kind}")
    check_same(module, read_tensors(folder / "model.safetensors"))


def test_lists_become_tuples_where_the_constructor_says_so(folder):
    write_config(folder, {"shape": [12], "hidden": [4], "names": ["a"], "kinds": [1]})
    check_same(load_module(str(folder), "nets.Shaped"), read_tensors(folder / "model.safetensors"))


def test_nothing_is_fetched_from_the_hub(folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(CorruptCheckpointError, match=r"cannot be loaded as Fetching: .*offline mode is enabled"):
        load_module(str(folder), "nets.Fetching")
    assert constants.HF_HUB_OFFLINE is False


def test_a_tensor_with_two_names_is_stored_once(nets, folder):
    module = nets.Tied(5)
    save_model(module, str(folder / "model.safetensors"))
    assert len(read_tensors(folder / "model.safetensors")) == 3
    write_config(folder, {"size": 5})
    found = load_module(str(folder), "nets.Tied")
    assert found.decoder.weight is found.encoder.weight
    assert found.encoder.weight.equal(module.encoder.weight)


@pytest.mark.parametrize(
    ("stored", "loaded"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")]
)
def test_no_digit_of_the_weights_is_lost(nets, folder, stored, loaded):
    module = nets.Net(12, 4).to(getattr(torch, stored))
    save_model(module, str(folder / "model.safetensors"))
    found = load_module(str(folder), "nets.Net")
    for name, value in found.state_dict().items():
        assert value.dtype == getattr(torch, loaded)
        assert value.equal(module.state_dict()[name].to(value.dtype))


def test_the_default_type_of_the_caller_does_not_matter(folder, monkeypatch):
    torch.set_default_dtype(torch.float64)
    try:
        module = load_module(str(folder), "nets.Net")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert module.encoder.weight.dtype == torch.float32


# Classes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Net", r"--class takes package.module.Name, got 'Net'"),
        ("absent_package.Net", r"--class absent_package.Net: No module named 'absent_package'.*run the command where"),
        ("nets.Nett", r"has no 'Nett'; check the name"),
        ("broken.Net", r"--class broken.Net: SyntaxError: "),
        ("raising.Net", r"--class raising.Net: ZeroDivisionError: division by zero"),
        ("lazy.Net", r"--class lazy.Net: needs another package"),
        ("nets.NotAModule", r"nets.NotAModule is no torch.nn.Module class but the class NotAModule"),
        ("nets.NUMBER", r"nets.NUMBER is no torch.nn.Module class but a int"),
        ("torch.nn.functional.relu", r"no torch.nn.Module class but a function"),
    ],
)
def test_a_class_that_is_none_is_refused(folder, name, message):
    root = folder.parent
    (root / "broken.py").write_text("class Net(:\n")
    (root / "raising.py").write_text("1 / 0\n")
    (root / "lazy.py").write_text("def __getattr__(name):\n    raise ImportError('needs another package')\n")
    with pytest.raises(AuditInputError, match=message):
        load_module(str(folder), name)
    for module in ("broken", "raising", "lazy"):
        sys.modules.pop(module, None)


def test_a_folder_without_a_class_names_the_class_to_give(folder):
    write_config(folder, {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0"})
    with pytest.raises(AuditInputError, match=r"name the class that was trained: --class diffusers.AutoencoderKL"):
        load_module(str(folder))
    write_config(folder, {"architectures": ["ViTMAEForPreTraining"], "transformers_version": "5.0"})
    with pytest.raises(AuditInputError, match=r"--class transformers.ViTMAEForPreTraining"):
        load_module(str(folder))
    write_config(folder, {"size": 3})
    with pytest.raises(AuditInputError, match=r"--class package.module.Class"):
        load_module(str(folder))


# Configurations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, CheckpointMissingError, r"config.json is missing; .* The folder holds model.safetensors"),
        ("{'size': 12}", CorruptCheckpointError, r"config.json is no JSON: "),
        ("", CorruptCheckpointError, r"config.json is no JSON: "),
        ("[" * 100_000, CorruptCheckpointError, r"config.json is no JSON: "),
        ("\xff", CorruptCheckpointError, r"config.json is no JSON: "),
        ('[{"size": 12}]', CorruptCheckpointError, r"config.json holds a list; it must be one JSON object"),
        ("null", CorruptCheckpointError, r"config.json holds a NoneType"),
        (
            '{"size": 12, "widht": 4}',
            CorruptCheckpointError,
            r"does not fit Net: it does not take widht; its arguments",
        ),
        ('{"hidden": 4}', CorruptCheckpointError, r"does not fit Net: it needs size; its arguments are size, hidden"),
        (
            '{"size": "many"}',
            CorruptCheckpointError,
            r"run cannot be loaded as Net: .*TypeError|cannot be loaded as Net",
        ),
        (
            '{"size": 12, "auto_map": {"AutoModel": "theirs--code.Net"}}',
            CorruptCheckpointError,
            r"needs code that came with the weights \(auto_map: .*theirs--code.Net.*\), which is not executed",
        ),
        ('{"size": 12, "inner": {"auto_map": {"A": "code.B"}}}', CorruptCheckpointError, r"auto_map: .*code.B"),
        ('{"size": 12, "parts": [{"pretrained": true}]}', CorruptCheckpointError, r"asks for pretrained weights"),
        ('{"size": 12, "pretrained": true}', CorruptCheckpointError, r"asks for pretrained weights from elsewhere"),
        ('{"size": 12, "quantization_config": {"bits": 4}}', CorruptCheckpointError, r"describes quantised weights"),
        (
            '{"architecture": "D1", "fingerprint": {}}',
            AuditInputError,
            r"is a checkpoint of memzoo.* leave --class out",
        ),
    ],
)
def test_a_configuration_that_does_not_do_is_refused(folder, content, error, message):
    file = folder / "config.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(error, match=message):
        load_module(str(folder), "nets.Net")


def test_a_constructor_that_refuses_its_arguments_is_reported(folder):
    with pytest.raises(CorruptCheckpointError, match=r"cannot be loaded as Fussy: 'hidden'. config.json does not fit"):
        load_module(str(folder), "nets.Fussy")


def test_a_pipeline_of_several_networks_names_its_folders(tmp_path, folder):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    folder.rename(tmp_path / "pipeline" / "vae")
    with pytest.raises(AuditInputError, match=r"pipeline of several networks \(vae\); give the folder of one, such as"):
        load_module(str(tmp_path / "pipeline"), "nets.Net")


@pytest.fixture
def bundle(folder, tmp_path):
    """Arrange a network as a bundle of MONAI."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (folder / "config.json").unlink()
    folder.rename(tmp_path / "bundle" / "models")
    return tmp_path / "bundle"


def write_bundle(bundle, arguments):
    content = {
        "imports": ["$import os"],
        "size": 12,
        "hidden": "@size_of_code",
        "size_of_code": 4,
        "autoencoder_def": {"_target_": "nets.Net", **arguments},
        "trainer": {"_target_": "Trainer", "network": "$@autoencoder_def.to('cpu')"},
    }
    (bundle / "configs" / "inference.json").write_text(json.dumps(content))


def test_a_network_of_a_bundle_is_found_by_its_class(bundle):
    write_bundle(bundle, {"size": "@size", "hidden": "@hidden"})
    weights = bundle / "models" / "model.safetensors"
    for name in (bundle, bundle / "models", weights):
        check_same(load_module(str(name), "nets.Net"), read_tensors(weights))
    with pytest.raises(
        AuditInputError, match=r"describes 0 objects of the class Free.*: autoencoder_def \(nets.Net\), "
    ):
        load_module("bundle", "nets.Free")
    weights.rename(bundle / "models" / "model.pt")
    with pytest.raises(CorruptCheckpointError, match=r"model.pt in .*models may be pickles"):
        load_module("bundle", "nets.Net")


@pytest.mark.parametrize("value", ["$__import__('os').getpid()", "@absent", "%other.json::size"])
def test_expressions_of_a_bundle_are_not_evaluated(bundle, value):
    write_bundle(bundle, {"size": 12, "hidden": value})
    with pytest.raises(
        CorruptCheckpointError, match=rf"computes an argument by [\"']{re.escape(value)}.*not evaluated"
    ):
        load_module("bundle", "nets.Net")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "folder"), (os.mkfifo, "pipe")])
def test_what_is_no_file_is_refused_without_waiting(folder, name, make, kind):
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises((CorruptCheckpointError, CheckpointMissingError), match=f"is a {kind} in the place|is missing"):
        load_module(str(folder), "nets.Net")


REFERENCES = {
    "each twice the next": {f"a{number}": [f"@a{number + 1}"] * 2 for number in range(50)} | {"a50": 1},
    "a long row": {f"a{number}": f"@a{number + 1}" for number in range(5000)} | {"a5000": 1},
    "a circle": {"a0": "@a1", "a1": "@a0"},
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_references_of_a_bundle_that_do_not_end_are_refused(bundle, kind):
    content = {"net": {"_target_": "nets.Net", "size": "@a0"}, **REFERENCES[kind]}
    (bundle / "configs" / "inference.json").write_text(json.dumps(content))
    with pytest.raises(CorruptCheckpointError, match="more than 100 references, or a circle"):
        load_module("bundle", "nets.Net")


# Weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            10**7,
            r"config\.json describes a network of more numbers than .*model\.safetensors holds, which has \d+ bytes",
        ),
        (10**15, "cannot be loaded as Net: there is not enough memory for the network that config.json describes"),
    ],
)
def test_a_network_that_is_larger_than_its_weights_is_refused_before_memory_is_taken(folder, size, message):
    write_config(folder, {"size": size, "hidden": 4})
    with pytest.raises(CorruptCheckpointError, match=message):
        load_module(str(folder), "nets.Net")


def rename(tensors, old, new):
    return {name.replace(old, new): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: rename(x, "decoder.", "out."), r"missing keys decoder.bias.*; unexpected keys out.bias, out.weight"),
        (lambda x: {k: v for k, v in x.items() if k != "encoder.bias"}, r"missing keys encoder.bias; the file is of"),
        (lambda x: x | {"extra": torch.zeros(1)}, r"unexpected keys extra; the file"),
        (lambda x: {f"_orig_mod.{k}": v for k, v in x.items()}, r"_orig_mod. is the prefix of a module that"),
        (
            lambda x: x | {"encoder.bias": torch.zeros(5)},
            r"keys of another shape encoder.bias, stored \(5,\) float32, needed \(4,\) float32",
        ),
        (lambda x: x | {"encoder.bias": torch.zeros(4, dtype=torch.int8)}, r"encoder.bias, stored \(4,\) int8, needed"),
        (lambda x: {f"k{i}": torch.zeros(1) for i in range(9)}, r"unexpected keys k0, k1, k2, \.\.\. \(9 in all\)"),
    ],
)
@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_do_not_fit_are_named(folder, change, message, sharded):
    tensors = change(read_tensors(folder / "model.safetensors"))
    if sharded:
        shard(folder, tensors=tensors)
    else:
        save_file(tensors, folder / "model.safetensors")
    file = "model.safetensors.index.json" if sharded else "model.safetensors"
    with pytest.raises(CorruptCheckpointError, match=rf"{re.escape(file)} does not fit Net as config.json .*{message}"):
        load_module(str(folder), "nets.Net")


def test_the_class_that_a_configuration_names_is_said(folder):
    write_config(folder, {"_class_name": "Other", "size": 12})
    with pytest.raises(CorruptCheckpointError, match=r"\(config.json is of the class Other\)"):
        load_module(str(folder), "nets.Net")


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "last.ckpt", "model.pth", "encoder.pkl"])
def test_pickles_are_refused_without_execution(folder, name):
    (folder / "model.safetensors").unlink()
    torch.save(CodeInside(), folder / name)
    said = rf"{name} in .* may be pickles, .* not opened. Convert them .*torch.load\(.*{name}', weights_only.*save_file"
    with pytest.raises(CorruptCheckpointError, match=said):
        load_module(str(folder), "nets.Net")
    with pytest.raises(AuditInputError, match=r"no LightningModule, .* may be a pickle, .* not opened. .*save_model"):
        load_module(str(folder / name), "nets.Net")
    # a pickle beside safetensors is not looked at
    save_file({}, folder / "model.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"missing keys"):
        load_module(str(folder), "nets.Net")


def test_the_way_of_a_library_to_convert_its_weights_is_named(folder):
    (folder / "model.safetensors").rename(folder / "diffusion_pytorch_model.bin")
    from memzoo.auditing.foreign_folder import open_folder

    with pytest.raises(CorruptCheckpointError, match=r"AutoencoderKL.from_pretrained\('.*run'\).save_pretrained\("):
        open_folder(folder, "diffusers.AutoencoderKL")


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder):
    torch.save(CodeInside(), folder / "model.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"is a pickle .* was not opened"):
        load_module(str(folder), "nets.Net")


def test_a_damaged_file_is_named(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CorruptCheckpointError, match=r"model.safetensors is no readable safetensors file"):
        load_module(str(folder), "nets.Net")


def test_weights_have_to_be_there_once(folder):
    weights = folder / "model.safetensors"
    (folder / "model.fp16.safetensors").write_bytes(weights.read_bytes())
    with pytest.raises(AuditInputError, match=r"more than one set of weights \(model.fp16.safetensors, model.safe"):
        load_module(str(folder), "nets.Net")
    check_same(load_module(str(weights), "nets.Net"), read_tensors(weights))
    weights.unlink()
    (folder / "model.fp16.safetensors").unlink()
    with pytest.raises(CheckpointMissingError, match=r"holds no weights: .* among config.json"):
        load_module(str(folder), "nets.Net")
    with pytest.raises(CheckpointMissingError, match=r"no checkpoint at .*model.safetensors; check"):
        load_module(str(folder / "absent" / "model.safetensors"), "nets.Net")
    with pytest.raises(AuditInputError, match=r"no checkpoint at .*absent; give the folder"):
        load_module("absent", "nets.Net")


@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        ([], CorruptCheckpointError, r"holds a list"),
        ({"metadata": {}}, CorruptCheckpointError, r"has no weight_map from names of tensors to files"),
        ({"weight_map": {"a": 1}}, CorruptCheckpointError, r"has no weight_map"),
        ({"weight_map": {"a": "../other.safetensors"}}, CorruptCheckpointError, r"names '../other.safetensors', which"),
        ({"weight_map": {"a": "model.bin"}}, CorruptCheckpointError, r"names 'model.bin', which is no safetensors"),
        ({"weight_map": {"a": "absent.safetensors"}}, CheckpointMissingError, r"absent.safetensors is missing, and"),
        (
            {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
            AuditInputError,
            r"more than one set of weights \(model-00001-of-00002.safetensors, model-00002",
        ),
    ],
)
def test_an_index_that_does_not_do_is_refused(folder, places, error, message):
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(places))
    with pytest.raises(error, match=message):
        load_module(str(folder), "nets.Net")


def test_two_indices_are_refused(folder):
    shard(folder)
    index = folder / "model.safetensors.index.json"
    (folder / "other.safetensors.index.json").write_text(index.read_text())
    with pytest.raises(AuditInputError, match=r"holds 2 sets of weights"):
        load_module(str(folder), "nets.Net")
