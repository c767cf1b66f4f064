"""The checkpoints themselves: what the README promises of them, against independent computations."""

import gzip
import math

import pytest
import torch

import memzoo
from memzoo import data
from memzoo.dynamics import bracket_notation, certify, default_eps, example_eps, recovery_curve, spectrum
from memzoo.zoo import Fact, Verification
from memzoo.zoo.verification import Row


@pytest.fixture(scope="module")
def mnist20():
    return memzoo.load("mnist20-fc14x128")


def test_all_twenty_images_are_certified_attractors(mnist20):
    certificates = certify(mnist20, mnist20.examples)
    assert certificates.attractor.all()
    assert (certificates.residual < 1e-12).all()


def test_radius_agrees_with_the_dense_jacobian(mnist20):
    fast = spectrum(mnist20, mnist20.examples)
    wide = {name: value.double() for name, value in mnist20.state_dict().items()}

    def row(x):
        return torch.func.functional_call(mnist20, wide, (x.reshape(1, 1, 28, 28),)).flatten()

    for i, x in enumerate(mnist20.examples.double()):
        dense = torch.linalg.eigvals(torch.func.jacrev(row)(x.flatten())).abs().max()
        assert dense < 1
        assert abs(fast.radius[i] - dense) < 1e-9


def test_every_image_is_recovered_and_nearly_every_start_ends_at_one(mnist20):
    curve = recovery_curve(mnist20, mnist20.probes, mnist20.examples, 200)
    assert curve.rate[-1] == 1
    assert curve.arrived[-1] >= 0.99
    x = mnist20.probes
    with torch.no_grad():
        for _ in range(200):
            x = mnist20(x)
    distance = (x[:, None].double() - mnist20.examples[None].double()).flatten(2).norm(dim=2)
    expected = curve.arrived[-1].item()
    assert (distance < curve.eps).any(1).double().mean().item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("name", ["mnist20-fc14x128", "mnist15-fc5x32", "mnist50-fc5x32"])
def test_radii_for_each_example_lose_no_verdict_of_one_radius_for_all(name):
    model = memzoo.load(name)
    examples = model.examples
    one = default_eps(examples)
    each = example_eps(examples)
    assert (each >= one * (1 - 1e-12)).all()
    assert not (certify(model, examples, one).attractor & ~certify(model, examples, each).attractor).any()
    options = {"steps": 60, "tol": None, "offset": math.nan}
    fewer = recovery_curve(model, model.probes[:100], examples, eps=one, **options)
    more = recovery_curve(model, model.probes[:100], examples, eps=each, **options)
    assert (more.reached | ~fewer.reached).all()
    assert (more.ever >= fewer.ever).all()


def test_the_linear_network_has_the_spectrum_of_figure_7():
    model = memzoo.load("cifar10-d1")
    eigenvalues = spectrum(model, model.examples[:1]).eigenvalues[0]
    assert (eigenvalues[:2] - 1).abs().max() < 1e-2
    assert eigenvalues[2].abs() < 2e-2
    assert bracket_notation(eigenvalues, 2).startswith("1, 1, [< ")
    # an independent way: a linear map sends the latent units through the decoder and back through the encoder
    encode, decode = (half.double() for half in (model.net[:5], model.net[5:]))
    with torch.no_grad():
        matrix = encode(decode(torch.eye(128, dtype=torch.float64)[:, :, None, None])).flatten(1)
    found = torch.linalg.eigvals(matrix).abs().max()
    torch.testing.assert_close(found, eigenvalues[0].abs(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", memzoo.list_models())
def test_every_fact_holds(name, shared_facts):
    entry = memzoo.info(name)
    result = memzoo.verify(name)
    assert result.ok, str(result)
    partial = entry.training_set is not None  # what is said of all its images needs the dataset
    assert result.verdict == ("provisional" if partial else "verified"), str(result)
    assert all(row.recomputed for row in result.rows) != partial
    assert len(result.rows) == len(entry.facts)
    assert all(row.fact.ours is not None for row in result.rows)


def test_what_is_said_of_a_whole_training_set_holds(shared_data, shared_facts, tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for packed in (shared_data / "MNIST/raw").glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    assert memzoo.verify("mnist50k-fc7x512", data_root=tmp_path).verdict == "verified"


def test_norms_before_training_are_those_of_figure_12():
    norms = {
        name: memzoo.info(f"cifar10-d1x32-{name}").facts[0].ours
        for name in ("xavier-uniform", "xavier-normal", "kaiming-uniform", "kaiming-normal")
    }
    xavier = sorted(norms.values())[:2]
    kaiming = sorted(norms.values())[2:]
    assert {name for name, norm in norms.items() if norm < 1} == {"xavier-uniform", "xavier-normal"}
    assert min(kaiming) / max(xavier) >= 30


def test_cifar_images_are_the_dataset_s_own(shared_data):
    entry = memzoo.info("cifar10-d1")
    examples = data.cifar10(entry.examples.positions(), root=shared_data)
    probes = data.cifar10(entry.probes.positions(), split="test", root=shared_data)
    assert list(examples.sha256) == entry.examples.sha256
    assert probes.digest == entry.probes.sha256


def test_mnist_images_are_the_embedded_ones():
    entry = memzoo.info("mnist20-fc14x128")
    examples, starts = data.mnist20()
    assert list(examples.sha256) == entry.examples.sha256
    assert starts.digest == entry.probes.sha256


def test_the_verdict_follows_from_values_bounds_and_versions():
    fact = Fact(name="a", measure="attractors", args={"eps": 0.5}, ours=1.0, tolerance=0.1, least=0.5)
    same = {"torch": "2.15.0"}
    other = {"torch": "2.16.0"}

    def judge(measured, here, **changes):
        row = Row(fact.model_copy(update=changes), measured)
        return Verification("id", (row,), same, here).verdict

    assert judge(1.05, same) == judge(1.05, other) == "verified"
    assert judge(1.5, same) == "failed"
    assert judge(1.5, other) == "provisional"
    assert judge(0.4, other) == judge(math.nan, other) == "failed"
    assert judge(0.4, same, ours=None) == "failed"
    assert judge(7.0, same, ours=None) == "provisional"
    assert Verification("id", (Row(fact, 1.5),), same, other).ok
    assert "recorded with torch 2.15.0; recomputed with torch 2.16.0" in str(Verification("id", (), same, other))
