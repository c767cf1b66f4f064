import json

import pytest
import torch
from draws import uniform
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import spectrum
from memzoo.models.architectures.timm_autoencoder import FixedNorm, TimmAutoencoder

RESNET = {"shape": (3, 16, 16), "backbone": "test_resnet", "filters": 2}
VIT = {
    "shape": (1, 8, 8),
    "backbone": "test_vit",
    "filters": 2,
    "options": {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2},
}


@pytest.mark.parametrize(
    ("fields", "grid"),
    [
        (RESNET, (96, 1, 1)),
        (RESNET | {"shape": (1, 12, 12)}, (96, 1, 1)),  # a side that is no power of 2, another number of channels
        (VIT, (8, 2, 2)),
        ({"backbone": "test_convnext", "filters": 2}, (64, 1, 1)),
        ({"backbone": "swin_tiny_patch4_window7_224", "options": {"depths": (1, 1), "embed_dim": 24}}, (48, 4, 4)),
    ],
)
def test_any_kind_of_backbone_becomes_a_self_map(fields, grid):
    model = TimmAutoencoder(**fields).eval()
    x = torch.rand(2, *model.shape)
    features = model.net[1](model.net[0](x))
    assert features.shape[1:] == grid
    y = model(x)
    assert y.shape == x.shape
    assert_close(y[:1], model(x[:1]))
    assert y.min() > 0
    assert y.max() < 1


@pytest.mark.parametrize("fields", [RESNET, VIT])
def test_configurations_and_weights_round_trip(fields):
    model = TimmAutoencoder(**fields).eval()
    twin = TimmAutoencoder(json.loads(model.config.model_dump_json())).eval()
    twin.load_state_dict(model.state_dict())
    x = torch.rand(2, *model.shape)
    assert torch.equal(twin(x), model(x))


def test_fixed_norms_are_the_eval_mode_of_batch_norms_in_training_too():
    fixed = TimmAutoencoder(**RESNET)
    as_is = TimmAutoencoder(**RESNET, norm="as_is")
    norms = [module for module in as_is.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    for norm in norms:  # as if trained
        for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    state = {name: tensor for name, tensor in as_is.state_dict().items() if not name.endswith("num_batches_tracked")}
    fixed.load_state_dict(state)
    x = torch.rand(4, 3, 16, 16)
    assert fixed.training
    assert_close(fixed(x), as_is.eval()(x))
    assert not torch.allclose(as_is.train()(x), fixed(x))
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in fixed.modules())


def test_fixed_norms_keep_fused_activations_and_train_scale_and_shift():
    from timm.layers import BatchNormAct2d

    norm = BatchNormAct2d(3)
    norm.running_mean.normal_()
    fixed = FixedNorm(norm)
    x = torch.randn(2, 3, 4, 4)
    expected = norm.eval()(x)
    assert_close(fixed(x), expected)
    assert expected.min() == 0
    assert dict(fixed.named_parameters()).keys() == {"weight", "bias"}
    before = fixed.running_mean.clone()
    fixed.train()(x).sum().backward()
    assert fixed.weight.grad.abs().sum() > 0
    assert torch.equal(fixed.running_mean, before)
    with pytest.raises(ValueError, match="without stored statistics cannot be fixed"):
        FixedNorm(nn.BatchNorm2d(3, track_running_stats=False))


def test_pixels_are_scaled_as_the_backbone_states():
    import timm

    cfg = timm.get_pretrained_cfg("test_resnet")
    model = TimmAutoencoder(**RESNET)
    x = torch.rand(2, 3, 16, 16)
    # the normalisation that timm states for the backbone
    expected = torch.stack([(x[:, c] - cfg.mean[c]) / cfg.std[c] for c in range(3)], 1)
    assert_close(model.net[0](x), expected)
    grey = TimmAutoencoder(**VIT)
    found = grey.net[0](x[:, :1])
    assert torch.equal(found, x[:, :1])


def test_the_spectrum_of_a_transformer_is_that_of_its_jacobian():
    model = TimmAutoencoder(**VIT).eval()
    x = torch.rand(1, 1, 8, 8)
    wide = TimmAutoencoder(model.config).eval().double()
    wide.load_state_dict(model.state_dict())
    flat = x.double().flatten().requires_grad_()
    rows = wide(flat.reshape(1, 1, 8, 8)).flatten()
    jacobian = torch.stack([torch.autograd.grad(row, flat, retain_graph=True)[0] for row in rows])
    expected = torch.linalg.eigvals(jacobian).abs().max()
    for method in (None, "arnoldi", "dense"):
        found = spectrum(model, x, method=method)
        assert_close(found.radius[0], expected, rtol=1e-5, atol=0)


def test_forward_differentiation_passes_attention():
    model = TimmAutoencoder(**VIT).eval().double()
    x, direction = uniform(2, 1, 1, 8, 8)
    _, tangent = torch.func.jvp(model, (x,), (direction,))
    # central difference
    difference = (model(x + 1e-6 * direction) - model(x - 1e-6 * direction)) / 2e-6
    assert_close(tangent, difference, rtol=1e-6, atol=1e-9)


def test_what_timm_does_not_have_or_cannot_build():
    with pytest.raises(ValidationError, match=r"timm has no model 'resnet_18'; did you mean 'resnet18'"):
        TimmAutoencoder(backbone="resnet_18")
    with pytest.raises(ValidationError, match=r"'%%%'; timm.list_models\(\) names them all"):
        TimmAutoencoder(backbone="%%%")
    with pytest.raises(ValidationError, match=r"maps square images, got shape \(3, 32, 16\)"):
        TimmAutoencoder(shape=(3, 32, 16))
    with pytest.raises(ValueError, match=r"could not build 'test_resnet' as a network of feature maps with .*colour"):
        TimmAutoencoder(**RESNET, options={"colour": 3})


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained", "cache_dir"])
def test_options_that_open_files_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} would open files or addresses, which a configuration must not"):
        TimmAutoencoder(backbone="test_resnet", options={option: "evil.pth"})
