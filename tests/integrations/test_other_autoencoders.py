"""Autoencoders of other packages: each cell of the table in docs/integrations.md is a test here."""

import logging
from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from other_autoencoders import OTHERS, OtherAutoencoder, build_other, compute_radius_by_differences, train_other
from torch.utils.data import DataLoader, TensorDataset

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.dynamics import certify, iterate, spectrum

# These take minutes. Each kind of module that needs no other package is tested in short elsewhere, too.
pytest.importorskip("diffusers", reason="`make integrations` runs these tests")

pytestmark = pytest.mark.filterwarnings(
    "ignore:autograd's derivative of:UserWarning",  # of quantisers, whose gradient goes straight through
    "ignore:`torch.jit:FutureWarning",
)


@pytest.fixture(params=OTHERS)
def case(request):
    """Return a row of the table, a module that nobody has measured yet, its state and its images."""
    other = OTHERS[request.param]
    state, images = train_other(request.param)
    return other, build_other(other, state), state, images


def expect(other: OtherAutoencoder):
    return pytest.warns(UserWarning, match=other.warns) if other.warns else nullcontext()


def reference_orbit(other, module, x, steps):
    with torch.no_grad():
        for _ in range(steps):
            x = other.reference(module, x)
    return x


def test_what_is_iterated_is_the_map_written_by_hand(case):
    other, module, _, images = case
    with expect(other):
        points = iterate(other.map(module), images, 2).points
    torch.testing.assert_close(points, reference_orbit(other, module, images, 2), rtol=1e-4, atol=1e-5)


def test_the_radius_is_that_of_differences(case):
    other, module, state, images = case
    with expect(other):
        found = spectrum(other.map(module), images[:2])
    expected = compute_radius_by_differences(other, state, images[:2])
    if other.stairs:  # the derivative of one step of the stairs
        assert (expected == 0).all()
    if not other.decided:
        assert found.verdict == ["undecided"] * 2
        assert found.radius_error.isinf().all()
        return
    torch.testing.assert_close(found.radius.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_certified_is_a_fixed_point_of_the_map_written_by_hand(case):
    other, module, state, images = case
    with expect(other):
        found = certify(other.map(module), images[:2])
    fixed = found.points[found.fixed]
    if not len(fixed):  # a denoiser may have no fixed point near its images
        return
    torch.testing.assert_close(reference_orbit(other, module, fixed, 1), fixed, rtol=1e-3, atol=1e-4)
    if not other.stairs:
        expected = compute_radius_by_differences(other, state, fixed[:1])
        torch.testing.assert_close(found.radius[found.fixed][:1].double(), expected, rtol=1e-3, atol=1e-4)


class Training(LightningModule):
    """Train a module of another package as it is."""

    def __init__(self, other, module):
        super().__init__()
        self.module = other.map(module)
        self.inner = module
        self.other = other

    def forward(self, x):
        return self.module(x)

    def training_step(self, batch, index):
        return (self.other.reference(self.inner, batch[0]) - batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.inner.parameters(), lr=1e-4)


def test_the_callback_without_arguments_measures_it(case, caplog):
    other, module, _, images = case
    if not other.steps:
        pytest.skip("an exported program is not trained")
    caplog.set_level(logging.INFO)
    training = Training(other, module).train()
    callback = AttractorCallback(max_starts=8, steps=10, verbose=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, callbacks=[callback], accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(training, DataLoader(TensorDataset(images), batch_size=4))
    row = callback.history[-1]
    assert row["attractor/measured"] == 1, row.get("reason")
    expected = compute_radius_by_differences(other, training.inner.state_dict(), images)
    if not other.decided:
        return
    torch.testing.assert_close(row["attractor/radius_max"], expected.max().item(), rtol=1e-3, atol=1e-5)


def test_an_audit_measures_it(case):
    other, module, _, images = case
    starts = torch.rand(6, *other.shape, generator=torch.Generator().manual_seed(2))
    report = memzoo.audit(other.map(module), images, starts, controls=starts[:4].flip(0) / 2 + 0.2, steps=10)
    if other.warns:
        assert any(other.warns in note for note in report.notes)
    ends = reference_orbit(other, module, starts, 10)
    distance = torch.cdist(images.flatten(1), ends.flatten(1)).amin(1)
    assert torch.equal(report.members.recovered, distance < report.members.eps)
