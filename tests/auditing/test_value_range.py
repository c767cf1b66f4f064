"""Test that images are brought into the range of a network where it is known, and that another range is noticed."""

import json
import warnings

import pytest
import torch

import memzoo
from memzoo.auditing import find_scaling, find_shape, read_data
from memzoo.auditing.value_range import Scaling, find_better_range
from memzoo.errors import AuditInputError, CorruptCheckpointError

HALF = {"do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a JSON file into a folder; it returns the folder."""

    def write_json(content, name="preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path)

    return write_json


def scale_as_processors_do(pixels, config):
    """Follow the image processors of transformers: rescale values of 8 bits, then normalise each channel."""
    x = pixels.double()
    if config.get("do_rescale", True):
        x = x * config.get("rescale_factor", 1 / 255)
    if config.get("do_normalize", "image_mean" in config):
        mean = torch.tensor(config["image_mean"]).double()
        std = torch.tensor(config["image_std"]).double()
        x = (x - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
    return x


@pytest.mark.parametrize(
    "config",
    [
        HALF,
        IMAGENET,
        IMAGENET | {"do_rescale": True, "rescale_factor": 1 / 127.5},
        IMAGENET | {"do_rescale": False},
        {"do_rescale": True, "do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
        HALF | {"do_normalize": False},
    ],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_images_are_scaled_as_the_processor_of_the_folder_does(write, config, is_nested):
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    content = {"image_processor": config} if is_nested else config
    scaling = find_scaling(write(content, "processor_config.json" if is_nested else "preprocessor_config.json"))
    torch.testing.assert_close(scaling.apply(pixels.double() / 255), scale_as_processors_do(pixels, config))


@pytest.mark.parametrize(
    ("config", "mean", "std", "said"),
    [
        ({"value_range": [-1, 1]}, (0.5,), (0.5,), "values in [-1, 1]"),
        ({"data_range": [0, 255]}, (0.0,), (1 / 255,), "values in [0, 255]"),
        ({"pretrained_cfg": {"mean": [0.1, 0.2], "std": [0.3, 0.4]}}, (0.1, 0.2), (0.3, 0.4), "(value - [0.1, 0.2])"),
        ({"image_mean": 0.5, "image_std": 0.25}, (0.5,), (0.25,), "values in [-2, 2]"),
        ({"input_range": [0, 1]}, (0.0,), (1.0,), "values in [0, 1]"),
    ],
)
def test_the_configuration_of_the_network_may_say_it(write, config, mean, std, said):
    scaling = find_scaling(write(config, "config.json"))
    assert scaling.mean == pytest.approx(mean)
    assert scaling.std == pytest.approx(std)
    assert said in str(scaling)
    assert scaling.source.endswith("config.json")


@pytest.mark.parametrize("config", [{"sample_size": 32, "scaling_factor": 0.18}, {"do_normalize": True}, {}])
def test_nothing_is_scaled_where_nothing_says_how(write, config):
    assert find_scaling(write(config, "config.json")) is None


def test_names_that_are_no_folder_say_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"value_range": [-1, 1], "in_channels": 3, "sample_size": 8}')
    assert find_scaling("mnist20-fc14x128") is None
    assert find_scaling("run.ckpt") is None
    assert find_shape("mnist20-fc14x128") is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (HALF | {"image_std": [0.5, 0.0, 0.5]}, r"divides by image_std \[0.5, 0.0, 0.5\]; all must be above 0"),
        (HALF | {"image_mean": "half"}, r"scales images by 'half'; needed are finite numbers"),
        (HALF | {"image_mean": [None]}, r"scales images by \[None\]"),
        (HALF | {"image_mean": []}, r"scales images by \[\]"),
        (HALF | {"rescale_factor": -1}, r"all must be above 0"),
        ({"value_range": [0]}, r"scales images by \[0\]"),
    ],
)
def test_a_scaling_that_makes_no_sense_is_refused(write, config, message):
    with pytest.raises(CorruptCheckpointError, match=message):
        find_scaling(write(config))


@pytest.mark.parametrize(
    "config",
    [
        {"value_range": [0, 1e-320]},
        {"value_range": [-1e308, 1e308]},
        {"image_mean": [1e308], "image_std": [1], "rescale_factor": 1e-9},
        {"image_mean": [0], "image_std": [1e-308], "rescale_factor": 1e30},
    ],
)
def test_numbers_that_would_make_images_infinite_are_refused(write, config):
    with pytest.raises(AuditInputError, match="scales images by numbers beyond the range of a float"):
        find_scaling(write(config))


def test_a_range_is_in_ascending_order(write):
    with pytest.raises(AuditInputError, match=r"a range is two finite numbers, the smaller first, got 1.0, -1.0"):
        find_scaling(write({"value_range": [1, -1]}))


def test_images_need_the_channels_of_the_scaling(write):
    scaling = find_scaling(write(IMAGENET))
    with pytest.raises(AuditInputError, match=r"scales 3 channels, the images \(1, 5, 5\) have 1"):
        scaling.apply(torch.rand(2, 1, 5, 5))


def test_the_shape_of_an_image_is_read(write):
    assert find_shape(write({"in_channels": 3, "sample_size": 32}, "config.json")) == (3, 32, 32)
    assert find_shape(write({"num_channels": 1, "image_size": [4, 6]}, "config.json")) == (1, 4, 6)
    assert find_shape(write({"in_channels": 3}, "config.json")) is None
    assert find_shape(write({"in_channels": 3, "sample_size": None}, "config.json")) is None


@pytest.mark.usefixtures("project")
def test_images_of_files_are_scaled_and_it_is_said():
    plain = read_data("images.npz")
    assert plain.notes == ()
    data = read_data("images.npz", scaling=Scaling.to_range(-1, 1, "the folder"))
    for name in ("members", "controls", "starts"):
        torch.testing.assert_close(getattr(data, name), 2 * getattr(plain, name) - 1)
    assert data.notes == ("The images, with values in [0, 1], were brought to values in [-1, 1], as the folder says.",)


@pytest.mark.usefixtures("project")
def test_images_that_are_not_between_0_and_1_are_taken_as_they_are(tmp_path):
    import numpy as np

    members = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 1, 3, 4)
    np.savez("own.npz", members=members)
    data = read_data("own.npz", scaling=Scaling.to_range(-1, 1, "the folder"))
    assert data.members.equal(torch.from_numpy(members))
    assert data.notes[0].startswith("The images have values from -1 to 1 and were taken as they are; for images in [0")


@pytest.mark.usefixtures("project")
def test_images_of_another_size_are_noted():
    assert read_data("images.npz", trained_shape=(1, 3, 4)).notes == ()
    (note,) = read_data("images.npz", trained_shape=(1, 8, 8)).notes
    assert note == "The images are (1, 3, 4); the configuration of the network says (1, 8, 8)."


# A range that does not fit -----------------------------------------------------------------------------------------


def associate(patterns):
    """Return a map to the nearest of some patterns: it reconstructs these alone, wherever they are."""
    return lambda x: patterns[torch.cdist(x.flatten(1), patterns.flatten(1)).argmin(1)]


RANGES = {"[0, 1]": (0, 1), "[-1, 1]": (-1, 1), "[0, 255]": (0, 255)}


@pytest.mark.parametrize("trained", RANGES)
@pytest.mark.parametrize("given", RANGES)
def test_a_network_of_another_range_is_noticed(trained, given):
    unit = torch.rand(4, 1, 5, 5).round(decimals=2)
    unit[:, 0, 0, :2] = torch.tensor([0.0, 1.0])
    at = {name: low + (high - low) * unit for name, (low, high) in RANGES.items()}
    starts = RANGES[given][1] * torch.randn(3, 1, 5, 5)
    f = associate(at[trained])
    low, high = RANGES[trained]
    # a small error remains, as after a training
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = memzoo.audit(lambda x: f(x) + 0.01 * (high - low), at[given], starts, steps=3)
    said = [str(one.message) for one in caught if "The images have values in" in str(one.message)]
    notes = [note for note in found.notes if "The images have values in" in note]
    if trained == given:
        assert said == notes == []
    else:
        assert said == notes
        assert f"The images have values in {given}" in said[0]
        assert f"better in {trained}" in said[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x,
        torch.zeros_like,
        lambda x: x.mean(0, keepdim=True).expand_as(x),
        lambda x: torch.full_like(x, 0.5),
        lambda x: 0.9 * x,
    ],
)
def test_maps_that_reconstruct_in_no_range_or_in_all_are_let_alone(f):
    assert find_better_range(f, torch.rand(6, 3, 4, 4)) is None


def test_images_of_no_usual_range_are_let_alone():
    assert find_better_range(torch.tanh, 3 * torch.randn(6, 3, 4, 4)) is None


def test_a_network_that_refuses_other_values_is_let_alone():
    def f(x):
        assert x.min() >= 0
        assert x.max() <= 1
        return 0.5 * x

    assert find_better_range(f, torch.rand(6, 3, 4, 4)) is None


def test_a_map_that_changes_its_input_by_a_bounded_amount_was_trained_on_no_range():
    assert find_better_range(lambda x: x + 0.05 * torch.cos(x), torch.rand(6, 3, 4, 4)) is None
