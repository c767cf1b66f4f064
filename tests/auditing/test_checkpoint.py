"""Test that checkpoints and classes are loaded without running what a file holds, and refused with advice."""

import pytest
import torch

from memzoo.auditing import load_module
from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError


class CodeInside:
    """Run code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_a_checkpoint_that_could_run_code_is_not_opened(project):
    content = torch.load("run.ckpt", weights_only=True)
    torch.save(content | {"hyper_parameters": {"size": CodeInside()}}, "bad.ckpt")
    with pytest.raises(CorruptCheckpointError, match=r"could run any code and were not opened"):
        load_module("bad.ckpt", "theirs.Net")
    # the first bytes of a sound file
    (project / "cut.ckpt").write_bytes((project / "run.ckpt").read_bytes()[:200])
    with pytest.raises(CorruptCheckpointError, match=r"cut.ckpt"):
        load_module("cut.ckpt", "theirs.Net")


@pytest.mark.parametrize(
    ("checkpoint", "model", "error", "message"),
    [
        ("absent.ckpt", "theirs.Net", CheckpointMissingError, r"no checkpoint at .*absent.ckpt"),
        ("https://example.org/run.ckpt", "theirs.Net", AuditInputError, r"not fetched from the network"),
        ("run.ckpt", None, AuditInputError, r"name it: --model"),
        ("run.ckpt", "Net", AuditInputError, r"--model takes package.module.Name, got 'Net'"),
        ("run.ckpt", "theirs.Not", AuditInputError, r"has no 'Not'"),
        ("run.ckpt", "theirs.NUMBER", AuditInputError, r"no LightningModule class but a int"),
        ("run.ckpt", "theirs.Images", AuditInputError, r"no LightningModule class but the class Images"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_refused_with_advice(project, checkpoint, model, error, message):
    with pytest.raises(error, match=message):
        load_module(checkpoint, model)


def test_the_weights_are_those_of_the_checkpoint(project):
    module = load_module("run.ckpt", "theirs.Net")
    assert not module.training
    assert module.net.weight.equal(torch.load("run.ckpt", weights_only=True)["state_dict"]["net.weight"])
