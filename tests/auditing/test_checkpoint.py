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
    ("value", "named"),
    [
        (torch.nn.SmoothL1Loss(), r"the first is of torch\.nn\.modules\.loss\.SmoothL1Loss"),
        ({"inner": [torch.optim.SGD]}, r"the first is of torch\.optim\.sgd\.SGD"),
        (CodeInside(), r"the first is of .*exec"),
    ],
)
def test_the_object_that_is_in_the_way_is_named_in_plain_text(project, value, named):
    content = torch.load("run.ckpt", weights_only=True)
    torch.save(content | {"hyper_parameters": {"criterion": value}}, "bad.ckpt")
    with pytest.raises(CorruptCheckpointError, match=named) as raised:
        load_module("bad.ckpt", "theirs.Net")
    said = str(raised.value)
    assert "\x1b" not in said
    assert "\n" not in said
    assert "two options" not in said


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        (
            lambda key: f"_orig_mod.{key}",
            r"unexpected keys _orig_mod\..*missing keys .*; _orig_mod\. is the prefix",
        ),
        (lambda key: f"{key}_orig", r"unexpected keys \S+_orig, .*missing keys"),
    ],
)
@pytest.mark.usefixtures("project")
def test_keys_that_do_not_fit_are_named(rename, said):
    content = torch.load("run.ckpt", weights_only=True)
    renamed = {rename(key): value for key, value in content["state_dict"].items()}
    torch.save(content | {"state_dict": renamed}, "bad.ckpt")
    with pytest.raises(CorruptCheckpointError, match=said):
        load_module("bad.ckpt", "theirs.Net")


@pytest.mark.parametrize(
    ("checkpoint", "model", "error", "message"),
    [
        ("absent.ckpt", "theirs.Net", CheckpointMissingError, r"no checkpoint at .*absent.ckpt"),
        ("https://example.org/run.ckpt", "theirs.Net", AuditInputError, r"not fetched from the network"),
        ("run.ckpt", None, AuditInputError, r"name it: --class"),
        ("run.ckpt", "Net", AuditInputError, r"--class takes package.module.Name, got 'Net'"),
        ("run.ckpt", "theirs.Not", AuditInputError, r"has no 'Not'"),
        ("run.ckpt", "theirs.NUMBER", AuditInputError, r"no torch.nn.Module class but a int"),
        ("run.ckpt", "theirs.Images", AuditInputError, r"no torch.nn.Module class but the class Images"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_refused_with_advice(project, checkpoint, model, error, message):
    with pytest.raises(error, match=message):
        load_module(checkpoint, model)


def test_the_weights_are_those_of_the_checkpoint(project):
    module = load_module("run.ckpt", "theirs.Net")
    assert not module.training
    assert module.net.weight.equal(torch.load("run.ckpt", weights_only=True)["state_dict"]["net.weight"])


@pytest.mark.parametrize("content", [b"", b"ustar" * 200, b"{}", b"\x80\x02]" + b"2" * 100 + b"."])
def test_what_is_no_checkpoint_is_refused(project, content):
    (project / "x.ckpt").write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=r"x\.ckpt (cannot be loaded as Net|is no checkpoint)"):
        load_module("x.ckpt", "theirs.Net")
