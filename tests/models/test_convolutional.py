import json
from math import ceil

import pytest
import torch
from draws import normal, uniform
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import operator, spectrum
from memzoo.models.architectures.convolutional import ConvAutoencoder

DOUBLE = torch.float64


def count_parameters(**fields):
    return sum(p.numel() for p in ConvAutoencoder(**fields).parameters())


def read_table(rows):
    return [tuple(map(int, row.split())) for row in rows.split(",")]


# Table 1 of the paper: layers, filters, parameters; its rows for 2 layers have the counts of 3
TABLE_1 = "2 1 18, 3 1 27, 3 16 2592, 3 128 149760, 5 1 45, 5 16 7200, 5 128 444672, 8 1 72, 8 16 14112, 8 128 887040"
# Table 2 of the paper: side, layers, parameters; it prints 3105 for the last
TABLE_2 = "2 2 18, 2 3 27, 3 9 81, 4 29 261, 5 70 630, 6 144 1296, 7 267 2403, 3 10 90, 5 200 1800, 7 350 3150"


@pytest.mark.parametrize(("layers", "filters", "count"), read_table(TABLE_1))
def test_parameters_of_table_1(layers, filters, count):
    assert count_parameters(shape=(1, 3, 3), layers=layers, filters=filters) == count


@pytest.mark.parametrize(("side", "layers", "count"), read_table(TABLE_2))
def test_parameters_of_table_2(side, layers, count):
    # a full matrix has side^4 entries, a layer has 9 parameters
    assert layers >= ceil(side**4 / 9)
    skip = 10 if layers > 100 else None  # the deep networks of the table skip blocks of ten
    assert count_parameters(shape=(1, side, side), layers=layers, skip=skip) == count


@pytest.mark.parametrize("activation", ["linear", "leaky_relu", "relu"])
@pytest.mark.parametrize("activate_last", [True, False])
@pytest.mark.parametrize("skip", [None, 2, 5])
def test_it_equals_its_definition(activation, activate_last, skip):
    model = ConvAutoencoder(
        shape=(2, 4, 3), layers=5, filters=2, kernel=5, activation=activation, activate_last=activate_last, skip=skip
    ).double()
    slope = {"linear": 1.0, "leaky_relu": 0.01, "relu": 0.0}[activation]
    x = y = normal(6, 2, 4, 3)

    def layers(y, some):
        for i in some:
            y = nn.functional.conv2d(y, model.convolutions[i].weight, model.convolutions[i].bias, padding=2)
            y = torch.where(y > 0, y, slope * y) if activate_last or i < 4 else y
        return y

    blocks = {None: [], 2: [(0, 1), (2, 3)], 5: [(0, 1, 2, 3, 4)]}[skip]
    for block in blocks:
        y = y + layers(y, block)
    y = layers(y, range(sum(map(len, blocks)), 5))
    assert_close(model(x), y)


def test_a_linear_layer_is_the_matrix_of_the_paper():
    # filter numbered 1..9: output pixel (i, j) sees pixel (k, l) by the entry (k - i + 1, l - j + 1)
    model = ConvAutoencoder(shape=(1, 2, 2), layers=1)
    model.convolutions[0].weight.data = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    expected = torch.tensor([[5.0, 6, 8, 9], [4, 5, 7, 8], [2, 3, 5, 6], [1, 2, 4, 5]], dtype=DOUBLE)
    assert_close(operator(model).matrix, expected)


def test_zero_blocks_with_skips_are_the_identity():
    init = {"scheme": "constant", "value": 0.0}
    model = ConvAutoencoder(shape=(1, 3, 3), layers=20, skip=10, init=init)
    x = torch.randn(2, 1, 3, 3)
    assert torch.equal(model(x), x)


@pytest.mark.parametrize("side", [2, 3, 4, 5])
def test_fewer_than_side_minus_one_layers_leave_pixels_unconnected(side):
    # Theorem 5 of the paper: then some entries of the matrix are zero, whatever the filters
    for layers in range(1, side + 1):
        model = ConvAutoencoder(shape=(1, side, side), layers=layers, filters=3)
        found = bool((operator(model).matrix == 0).any())
        assert found == (layers < side - 1)


def test_biases_follow_the_activation():
    assert ConvAutoencoder(activation="leaky_relu").convolutions[0].bias is not None
    assert ConvAutoencoder().convolutions[0].bias is None
    assert ConvAutoencoder(bias=True).convolutions[0].bias is not None
    assert ConvAutoencoder(activation="relu", bias=False).config.bias is False
    given = ConvAutoencoder({"activation": "leaky_relu"}).config
    assert given.bias is True  # resolved in the configuration that is saved
    assert ConvAutoencoder(given).config is given


def test_a_leaky_net_without_biases_has_eigenvalue_one_at_its_fixed_points():
    # f(x) = J(x) x for a positively homogeneous f
    model = ConvAutoencoder(shape=(1, 3, 3), layers=3, activation="leaky_relu", bias=False).double()
    x = uniform(1, 1, 3, 3)
    jacobian = torch.func.jacrev(lambda row: model(row.reshape(1, 1, 3, 3)).flatten())(x.flatten())
    assert_close(jacobian @ x.flatten(), model(x).flatten())


def test_parameter_names_are_regular_and_configurations_round_trip():
    model = ConvAutoencoder(shape=(1, 4, 4), layers=5, activation="leaky_relu", skip=2)
    names = [f"net.layers.{i}.{kind}" for i in range(5) for kind in ("weight", "bias")]
    assert list(model.state_dict()) == names
    expected = [model.get_parameter(name) for name in names[::2]]
    assert [layer.weight for layer in model.convolutions] == expected
    twin = ConvAutoencoder(json.loads(model.config.model_dump_json()))
    twin.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize("fields", [{"skip": 2}, {"activation": "leaky_relu", "skip": 2}, {"filters": 4}])
def test_spectrum_is_that_of_the_jacobian(fields):
    model = ConvAutoencoder(shape=(1, 3, 3), layers=5, **fields).eval()
    x = torch.randn(2, 1, 3, 3)
    wide = ConvAutoencoder(model.config).double()
    wide.load_state_dict(model.state_dict())
    for row, radius in zip(x.double(), spectrum(model, x).radius, strict=True):
        jacobian = torch.func.jacrev(lambda flat: wide(flat.reshape(1, 1, 3, 3)).flatten())(row.flatten())
        assert_close(torch.linalg.eigvals(jacobian).abs().max(), radius)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="odd kernels only, got kernel 4"):
        ConvAutoencoder(kernel=4)
    with pytest.raises(ValidationError, match="a block of 4 layers after the first 0 does not fit into 3"):
        ConvAutoencoder(layers=3, skip=4)
    with pytest.raises(ValidationError, match="block after layer 0 has 1 channels before and 8 behind; set filters to"):
        ConvAutoencoder(layers=5, filters=8, skip=2)
    assert count_parameters(layers=3, filters=8, skip=3) == 9 * (8 + 64 + 8)  # one block over all of them fits


@pytest.mark.parametrize(("skip_from", "skips"), [(0, {3: 0, 6: 3, 9: 6}), (2, {5: 2, 8: 5}), (6, {9: 6})])
def test_blocks_begin_after_the_first_layers(skip_from, skips):
    model = ConvAutoencoder(shape=(1, 4, 4), layers=10, skip=3, skip_from=skip_from).double()
    values = [uniform(2, 1, 4, 4)]
    for done, layer in enumerate(model.convolutions, 1):
        values.append(layer(values[-1]) + (values[skips[done]] if done in skips else 0))
    assert_close(model(values[0]), values[-1])


def test_small_weights_are_near_the_identity_with_all_skips_and_near_zero_without_the_first():
    small = {"shape": (1, 4, 4), "layers": 9, "skip": 3, "init": {"scheme": "constant", "value": 1e-3}}
    x = torch.rand(1, 1, 4, 4)
    assert_close(ConvAutoencoder(**small)(x), x, rtol=0, atol=1e-4)
    assert ConvAutoencoder(**small, skip_from=3)(x).abs().max() < 1e-4
