"""Test that folders which other libraries wrote are loaded by their own classes, and refused where they do not fit."""

import json
from pathlib import Path

import pytest
import torch
from other_autoencoders import MONAI_KL, MONAI_VQ, OTHERS, SIGMA, build_other, train_other
from safetensors.torch import load_file, save_file, save_model

import memzoo
from memzoo.auditing import find_scaling, find_shape, load_module
from memzoo.cli import main
from memzoo.errors import CorruptCheckpointError

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries on their own code

KL = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [8],
    "layers_per_block": 1,
    "latent_channels": 2,
    "norm_num_groups": 4,
    "sample_size": 8,
}
TINY = {"encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8], "num_encoder_blocks": [1, 1]}
TINY |= {"num_decoder_blocks": [1, 1], "latent_channels": 2, "latent_magnitude": 3}
UNET = {"sample_size": 8, "block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4}
UNET |= {"down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"]}
VQ = {key: value for key, value in KL.items() if key != "latent_channels"} | {
    "latent_channels": 2,
    "num_vq_embeddings": 8,
}
OF_DIFFUSERS = {"AutoencoderKL": KL, "AutoencoderTiny": TINY, "VQModel": VQ, "UNet2DModel": UNET}

MAE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 8}
MAE |= {"patch_size": 4, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
MAE |= {"decoder_intermediate_size": 16}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers")


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def vae(diffusers, tmp_path):
    """Write a small variational autoencoder of diffusers."""
    diffusers.AutoencoderKL(**KL).save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


@pytest.fixture
def mae(transformers, tmp_path):
    """Write a small masked autoencoder of transformers, with its image processor."""
    transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**MAE)).save_pretrained(tmp_path / "mae")
    processor = {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "mae" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "mae"


def check_same(module, original):
    assert type(module) is type(original)
    assert not module.training
    wanted = original.state_dict()
    found = module.state_dict()
    assert found.keys() == wanted.keys()
    assert all(value.equal(wanted[name]) for name, value in found.items())


@pytest.mark.parametrize("name", OF_DIFFUSERS)
@pytest.mark.parametrize("sharded", [False, True])
def test_networks_of_diffusers_are_those_that_were_saved(diffusers, tmp_path, name, sharded):
    original = getattr(diffusers, name)(**OF_DIFFUSERS[name])
    original.save_pretrained(tmp_path, **({"max_shard_size": "20KB"} if sharded else {}))
    assert bool(list(tmp_path.glob("*.index.json"))) is sharded
    check_same(load_module(str(tmp_path), f"diffusers.{name}"), original)


@pytest.mark.parametrize("sharded", [False, True])
def test_networks_of_transformers_are_those_that_were_saved(transformers, tmp_path, sharded):
    original = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**MAE))
    original.save_pretrained(tmp_path, **({"max_shard_size": "10KB"} if sharded else {}))
    assert bool(list(tmp_path.glob("*.index.json"))) is sharded
    check_same(load_module(str(tmp_path), "transformers.ViTMAEForPreTraining"), original)


def test_weights_under_any_name_and_of_half_precision_are_taken(diffusers, vae):
    original = diffusers.AutoencoderKL.from_pretrained(vae).half()
    original.save_pretrained(vae, variant="fp16")
    (vae / "diffusion_pytorch_model.safetensors").unlink()
    check_same(load_module(str(vae), "diffusers.AutoencoderKL"), original.float())


def test_attention_that_an_older_version_named_otherwise_is_loaded(diffusers, vae):
    # The names of diffusers before 0.12, which most published autoencoders have.
    original = diffusers.AutoencoderKL.from_pretrained(vae)
    file = vae / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, value in load_file(file).items():
        for new_name, old_name in old.items():
            name = name.replace(f"attentions.0.{new_name}.", f"attentions.0.{old_name}.")
        tensors[name] = value
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, file)
    check_same(load_module(str(vae), "diffusers.AutoencoderKL"), original)


@pytest.mark.parametrize("network", ["vae", "mae"])
def test_weights_that_do_not_fit_are_named(network, request):
    folder = request.getfixturevalue(network)
    kind = {"vae": "diffusers.AutoencoderKL", "mae": "transformers.ViTMAEForPreTraining"}[network]
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if name.endswith("weight") and "decoder" in name)
    save_file({key: value for key, value in tensors.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(CorruptCheckpointError, match=rf"missing keys {name}"):
        load_module(str(folder), kind)
    save_file(tensors | {"decoder.extra": torch.zeros(1)}, file, {"format": "pt"})
    with pytest.raises(CorruptCheckpointError, match=r"unexpected keys decoder.extra"):
        load_module(str(folder), kind)
    save_file(tensors | {name: torch.zeros(1, 2, 3)}, file, {"format": "pt"})
    with pytest.raises(CorruptCheckpointError, match=r"cannot be loaded as|of another shape"):
        load_module(str(folder), kind)


def test_another_class_of_the_library_is_refused(vae):
    with pytest.raises(CorruptCheckpointError, match=r"AutoencoderTiny.*config.json is of the class AutoencoderKL"):
        load_module(str(vae), "diffusers.AutoencoderTiny")


@pytest.mark.filterwarnings("default")
def test_keys_that_diffusers_would_leave_out_are_said(vae):
    config = json.loads((vae / "config.json").read_text())
    (vae / "config.json").write_text(json.dumps(config | {"new_activation": "x"}))
    with pytest.warns(
        UserWarning, match=r"AutoencoderKL does not take the keys new_activation of .*, which are ignored"
    ):
        load_module(str(vae), "diffusers.AutoencoderKL")


def test_pickles_and_code_of_a_stranger_are_not_run(vae, mae):
    for folder, kind, name in (
        (vae, "diffusers.AutoencoderKL", "diffusion_pytorch_model.bin"),
        (mae, "transformers.ViTMAEForPreTraining", "pytorch_model.bin"),
    ):
        (file,) = folder.glob("*.safetensors")
        weights = file.read_bytes()
        file.unlink()
        torch.save(load_file, folder / name)
        with pytest.raises(CorruptCheckpointError, match=r"not opened.*from_pretrained\(.*\).save_pretrained"):
            load_module(str(folder), kind)
        file.write_bytes(weights)
        assert load_module(str(folder), kind) is not None  # beside safetensors it is not looked at
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "code.Net"}}))
        (folder / "code.py").write_text("raise SystemExit('ran')\n")
        with pytest.raises(CorruptCheckpointError, match=r"auto_map"):
            load_module(str(folder), kind)


def test_the_implementation_of_attention_is_not_fetched(transformers, mae):
    config = json.loads((mae / "config.json").read_text())
    (mae / "config.json").write_text(json.dumps(config | {"_attn_implementation": "someone/kernels"}))
    module = load_module(str(mae), "transformers.ViTMAEForPreTraining")
    assert module.config._attn_implementation == "eager"


def test_shape_and_range_are_those_of_the_folder(vae, mae):
    assert find_shape(str(vae)) == (3, 8, 8)
    assert find_scaling(str(vae)) is None
    assert find_shape(str(mae)) == (3, 8, 8)
    assert find_scaling(str(mae)).mean == pytest.approx((0.485, 0.456, 0.406))


def test_the_command_audits_a_folder_of_diffusers(vae, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps.py").write_text("def mode(module, x):\n    return module(x).sample\n")
    save_file({"members": torch.rand(2, 3, 8, 8), "controls": torch.rand(2, 3, 8, 8)}, "images.safetensors")
    arguments = ["audit", "vae", "--class", "diffusers.AutoencoderKL", "--self-map", "maps.mode", "--steps", "2"]
    assert main([*arguments, "--data", "images.safetensors", "--range", "-1", "1", "--starts", "3"]) == 0
    report = json.loads(Path("audit/report.json").read_text())
    module = load_module("vae", "diffusers.AutoencoderKL")
    members = 2 * load_file("images.safetensors")["members"] - 1
    with torch.no_grad():
        errors = (module(members).sample - members).flatten(1).norm(dim=1)
    assert [row["error"] for row in report["members"]] == pytest.approx(errors.tolist(), rel=1e-4)
    assert memzoo.__version__ == report["versions"]["memzoo"]


# MONAI and pythae --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "config"), [("AutoencoderKL", MONAI_KL), ("VQVAE", MONAI_VQ)])
@pytest.mark.parametrize("is_bundle", [False, True])
def test_networks_of_monai_are_built_from_their_arguments(tmp_path, name, config, is_bundle):
    nets = pytest.importorskip("monai.networks.nets")
    original = getattr(nets, name)(**config)
    folder = tmp_path / "models" if is_bundle else tmp_path
    folder.mkdir(exist_ok=True)
    save_model(original, str(folder / "model.safetensors"))
    if is_bundle:
        (tmp_path / "configs").mkdir()
        arguments = config | {"_target_": name, "spatial_dims": "@spatial_dims"}
        content = {"imports": ["$import torch"], "spatial_dims": 2, "network_def": arguments}
        (tmp_path / "configs" / "inference.json").write_text(json.dumps(content))
    else:
        (tmp_path / "config.json").write_text(json.dumps(config))
    check_same(load_module(str(tmp_path), f"monai.networks.nets.{name}"), original)


@pytest.mark.parametrize("name", ["AE", "VAE"])
def test_networks_of_pythae_are_built_from_their_configuration(tmp_path, name):
    models = pytest.importorskip("pythae.models")
    original = getattr(models, name)(getattr(models, f"{name}Config")(input_dim=(1, 4, 4), latent_dim=3))
    original.save(str(tmp_path))
    with pytest.raises(CorruptCheckpointError, match=r"model.pt in .* may be pickles, .* weights_only=True.*save_file"):
        load_module(str(tmp_path), f"pythae.models.{name}")
    # as the message says
    tensors = torch.load(tmp_path / "model.pt", weights_only=True)["model_state_dict"]
    save_file(tensors, tmp_path / "model.safetensors")
    check_same(load_module(str(tmp_path), f"pythae.models.{name}"), original)


# The table of docs/integrations.md ---------------------------------------------------------------------------------

WITH_A_FOLDER = [
    name for name, other in OTHERS.items() if other.package in ("diffusers", "monai", "pythae", "transformers")
]


def save_as_its_library_does(name, module, folder):
    """Write a module into a folder; the pickle of pythae is converted."""
    folder.mkdir()
    if hasattr(module, "save_pretrained"):
        module.save_pretrained(folder)
    elif hasattr(module, "save"):
        module.save(str(folder))
        save_file(torch.load(folder / "model.pt", weights_only=True)["model_state_dict"], folder / "model.safetensors")
    else:
        config = {"AutoencoderKL": MONAI_KL, "VQVAE": MONAI_VQ}[name.rpartition(".")[2]]
        (folder / "config.json").write_text(json.dumps(config))
        save_model(module, str(folder / "model.safetensors"))


@pytest.mark.parametrize("name", WITH_A_FOLDER)
def test_an_audit_from_the_folder_measures_it(name, tmp_path, monkeypatch, capsys):
    state, images = train_other(name)
    other = OTHERS[name]
    module = build_other(other, state)
    monkeypatch.chdir(tmp_path)
    save_as_its_library_does(name, module, tmp_path / "folder")
    check_same(load_module("folder", name), module)
    (tmp_path / "maps_of_denoisers.py").write_text(
        f"import diffusers\nimport memzoo\n\n\ndef denoise(unet, x):\n"
        f"    return memzoo.denoiser(unet, {SIGMA}, diffusers.DDPMScheduler())(x)\n"
    )
    starts = torch.rand(6, *other.shape, generator=torch.Generator().manual_seed(2))
    save_file({"members": images, "starts": starts}, "images.safetensors")
    arguments = ["audit", "folder", "--class", name, "--data", "images.safetensors", "--steps", "10"]
    if name == "diffusers.UNet2DModel":
        assert main(arguments) == 1  # its forward needs more than the batch
        assert "timestep" in capsys.readouterr().err
        arguments += ["--self-map", "maps_of_denoisers.denoise"]
    assert main(arguments) == 0
    report = json.loads(Path("audit/report.json").read_text())
    if other.warns:
        assert any(other.warns in note for note in report["notes"])
    with torch.no_grad():
        errors = (other.reference(module, images) - images).flatten(1).norm(dim=1)
        ends = starts
        for _ in range(10):
            ends = other.reference(module, ends)
    assert [row["error"] for row in report["members"]] == pytest.approx(errors.tolist(), rel=1e-3, abs=1e-5)
    distance = torch.cdist(images.flatten(1), ends.flatten(1)).amin(1)
    eps = torch.tensor([row["eps"] for row in report["members"]])
    assert [row["recovered"] for row in report["members"]] == (distance < eps).tolist()
