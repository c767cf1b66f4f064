"""Runs that are resumed with other settings or from a damaged file, Ctrl-C, and pipes that nobody reads."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memzoo.cli import main, program
from memzoo.fitting.course import LossCourse
from memzoo.runs.keep_last import BEFORE, LAST

START = [
    *("fit", "--model", "FullyConnected", "--model.depth", "2", "--model.width", "8", "--data", "MNIST20"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.logger", "false", "--trainer.accelerator", "cpu", "--trainer.callbacks+=AttractorCallback"),
    *("--trainer.callbacks.every_n_epochs=2", "--trainer.callbacks.steps=5", "--out", "run"),
]

pytestmark = pytest.mark.filterwarnings("ignore:the loss was still falling")


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two steps, resume to four, and keep the folder as it then was."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*START, "--trainer.max_steps", "2"]) == 0
        assert main([*START, "--trainer.max_steps", "4", "--resume"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained):
    shutil.copytree(trained, "run")
    return Path("run")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Other settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("--model.training.lr 0.5", "model.init_args.training.lr was 0.001 and is 0.5"),
        ("--model.training.optimizer sgd", "model.init_args.training.optimizer was 'adam' and is 'sgd'"),
        ("--model.width 16", "model.init_args.width was 8 and is 16"),
        ("--data.batch_size 5", "data.init_args.batch_size was None and is 5"),
        ("--seed_everything 3", "seed_everything was 0 and is 3"),
        ("--trainer.precision 64-true", "trainer.precision was None and is '64-true'"),
        ("--trainer.gradient_clip_val 1.0", "trainer.gradient_clip_val was None and is 1.0"),
        ("--trainer.accumulate_grad_batches 2", "trainer.accumulate_grad_batches was 1 and is 2"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(run, capsys, settings, message):
    before = contents(run)
    assert main([*START, "--trainer.max_steps", "6", "--resume", *settings.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "run/last.ckpt belongs to a run with other settings" in said
    assert contents(run) == before


def test_a_checkpoint_that_is_named_belongs_to_the_same_model_whatever_the_data(run, capsys):
    named = [*START, "--out", "other", "--ckpt_path", "run/last.ckpt", "--trainer.max_steps", "6"]
    assert main([*named, "--model.training.lr", "0.5"]) == 2
    assert "training.lr was 0.001 and is 0.5" in capsys.readouterr().err
    assert not Path("other").exists()
    assert main([*named, "--data.steps_per_epoch", "3"]) == 0


@pytest.mark.parametrize("more", ["--model.training.steps 9", "--save_every_n_epochs 2", "--trainer.max_epochs 9"])
def test_a_longer_run_and_what_is_only_shown_may_change(run, more):
    assert main([*START, "--trainer.max_steps", "5", "--resume", *more.split()]) == 0
    assert torch.load(run / LAST, weights_only=True)["global_step"] == 5


def test_a_seed_that_was_drawn_stays():
    drawn = [*START, "--seed_everything", "true"]
    assert main([*drawn, "--trainer.max_steps", "1"]) == 0
    before = Path("run/config.yaml").read_text()
    for run in (drawn, START):
        assert main([*run, "--trainer.max_steps", "1", "--resume"]) == 0
        assert Path("run/config.yaml").read_text() == before


@pytest.mark.parametrize("content", [b"model: [", b"\xff", b"[" * 5000, b"3", b"model: none.There"])
def test_settings_that_cannot_be_read_are_named(run, capsys, content):
    (run / "config.yaml").write_bytes(content)
    assert main([*START, "--trainer.max_steps", "5", "--resume"]) == 2
    assert "run/config.yaml, the settings of the run, cannot be read" in capsys.readouterr().err


# Damaged files --------------------------------------------------------------------------------------------------------


DAMAGE = {
    "empty": lambda content: b"",
    "short": lambda content: content[:5000],
    "almost whole": lambda content: content[:-1],
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
    "text": lambda content: b"not a checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_state_falls_back_to_the_one_before_or_is_named(run, capsys, damage):
    last = run / LAST
    assert torch.load(run / BEFORE, weights_only=True)["global_step"] == 2
    last.write_bytes(damage(last.read_bytes()))
    shutil.copytree(run, "without")
    Path("without", BEFORE).unlink()
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged .* goes on from the state before it, run/before-last"):
        assert main([*START, "--trainer.max_steps", "4", "--resume"]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 4
    before = contents(Path("without"))
    for more in (["--resume"], ["--ckpt_path", "without/last.ckpt"]):
        assert main([*START, "--out", "without", "--trainer.max_steps", "6", *more]) == 1
        assert "memzoo: without/last.ckpt is damaged or was cut short" in capsys.readouterr().err
    assert contents(Path("without")) == before


def test_a_state_of_something_else_is_named(run, capsys):
    (run / BEFORE).unlink()
    torch.save({"weights": torch.ones(2)}, run / LAST)
    assert main([*START, "--trainer.max_steps", "6", "--resume"]) == 1
    assert "run/last.ckpt is damaged or was cut short" in capsys.readouterr().err


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def handler():
    """Give Ctrl-C its meaning back, which Lightning takes away."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


EPOCHS = ["--data.steps_per_epoch", "2"]


def test_an_interrupted_run_keeps_what_was_measured(handler, monkeypatch, capsys):
    record = LossCourse.on_train_batch_end

    def interrupt(self, trainer, *arguments):
        record(self, trainer, *arguments)
        if trainer.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LossCourse, "on_train_batch_end", interrupt)
        assert main([*START, *EPOCHS, "--trainer.max_steps", "8"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "memzoo: interrupted: --resume goes on from run/last.ckpt"
    history = json.loads(Path("run/history.json").read_text())
    assert len(history["measured"]) >= 1
    assert not list(Path("run").glob("*.part"))
    assert main([*START, *EPOCHS, "--trainer.max_steps", "8", "--resume"]) == 0
    resumed = torch.load("run/last.ckpt", weights_only=True)["state_dict"]
    assert main([*START, *EPOCHS, "--trainer.max_steps", "8", "--overwrite"]) == 0
    unbroken = torch.load("run/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())


@pytest.mark.parametrize("caught", [False, True], ids=["in the command", "caught by Lightning"])
def test_ctrl_c_ends_every_command_with_one_line(monkeypatch, capsys, caught):
    def interrupt(argv):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if caught:
                sys.exit(1)
            raise

    monkeypatch.setattr(program, "run", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "memzoo: interrupted\n"


@pytest.mark.parametrize("words", ["list", "--help", "info mnist20-fc14x128", "no-such-command 2>&1"])
def test_a_pipe_that_nobody_reads_ends_quietly(words):
    command = f'("{sys.executable}" -m memzoo {words}; echo "status $?" >&3) 2>err 3>status | true'
    subprocess.run(["bash", "-c", command], check=True)
    assert Path("err").read_text() == ""
    assert Path("status").read_text() in ("status 141\n", "status 2\n", "status 0\n")  # argparse ignores it in a help
