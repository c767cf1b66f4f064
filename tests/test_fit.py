import json
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from dropout_net import TwoPoints
from forked import start_code

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.cli import main
from memzoo.fitting import FitSetup, fit_parser
from memzoo.models import FullyConnected
from memzoo.zoo import read_history

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "examples/configs"
QUIET = [
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.logger", "false", "--trainer.accelerator", "cpu"),
]
WATCHED = [
    *("--trainer.callbacks+=AttractorCallback", "--trainer.callbacks.every_n_epochs=2"),
    *("--trainer.callbacks.steps=20", "--trainer.callbacks.verbose=false"),
]
SMALL = [*("--model", "FullyConnected", "--model.depth", "2", "--model.width", "8", "--data", "MNIST20")]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the loss was still falling"),
    pytest.mark.filterwarnings("ignore:Dropout make the network another one"),
]


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """Send runs to a folder of their own, and keep the seed of one test from the next."""
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


def fit(*arguments):
    return main(["fit", *arguments, *QUIET])


def prepare(*arguments):
    """Return the model, data and Trainer of a command line."""
    parser = fit_parser()
    return FitSetup(parser, parser.parse_args([*arguments, *QUIET]))


def result(folder):
    state = torch.load(Path(folder) / "last.ckpt", weights_only=True)
    history = json.loads((Path(folder) / "history.json").read_text())
    for row in history["measured"]:
        del row["seconds"]
    return state["state_dict"], state["global_step"], history


@pytest.mark.parametrize(
    ("net", "length", "saving", "killed_at", "saved_at"),
    [
        ("DropoutNet", ["--trainer.max_epochs", "7"], [], "10", 8),
        ("ValidatedNet", ["--trainer.max_steps", "26"], [], "13", 12),
        (
            "DropoutNet",
            ["--trainer.max_steps", "26"],
            ["--save_every_n_steps", "1"],
            "16 --trainer.callbacks.epoch_end=true",
            15,
        ),
    ],
)
def test_a_killed_and_resumed_run_ends_as_the_unbroken_one(net, length, saving, killed_at, saved_at, tmp_path):
    run = [*("--model", f"dropout_net.{net}", "--data", "MNIST20", "--data.batch_size", "5"), *WATCHED, *length]
    assert fit(*run, "--out", "unbroken") == 0  # shuffled batches, dropout, noise of all three generators

    killed = ["fit", *run, *saving, *QUIET, "--out", "broken"]
    killed += ["--trainer.callbacks+=dropout_net.KillAt", *f"--trainer.callbacks.step={killed_at}".split()]
    ended = start_code("import sys, memzoo.cli\nmemzoo.cli.main(sys.argv[1:])", killed, tmp_path / "said.txt")
    ended.join()
    assert ended.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    assert torch.load("broken/last.ckpt", weights_only=True)["global_step"] == saved_at
    assert not Path("broken/history.json").exists()
    torch.rand(7)  # another process, other states

    assert fit(*run, *saving, "--out", "broken", "--resume") == 0
    unbroken = result("unbroken")
    resumed = result("broken")
    assert all(torch.equal(value, resumed[0][name]) for name, value in unbroken[0].items())
    assert unbroken[1:] == resumed[1:]
    assert len(resumed[2]["measured"]) >= 5


@pytest.mark.parametrize(
    ("name", "changed", "architecture"),
    [
        ("mnist20-fc", ["--trainer.max_steps", "100", "--model.depth", "3"], "FullyConnected"),
        (
            "cifar10-d1",  # without the download
            [*("--trainer.max_steps", "20", "--model.filters", "8", "--data", "ZooImages"), "--data.id=cifar10-d1"],
            "D1",
        ),
        ("unet-drawn", ["--trainer.max_steps", "30", "--model.filters", "[16, 16, 16, 16]"], "UNet"),
    ],
)
def test_the_example_configurations_run_in_reduced_form(name, changed, architecture, capsys):
    quickly = ["--trainer.callbacks.steps=10", "--trainer.callbacks.max_starts=50"]
    assert fit("--config", str(CONFIGS / f"{name}.yaml"), *changed, *quickly) == 0
    said = capsys.readouterr().out
    folder = Path("runs") / name
    assert said.startswith("Attractors among ")
    assert f"--checkpoint {folder}/last.ckpt --model memzoo.models.{architecture}" in said
    model = getattr(memzoo.models, architecture).load_from_checkpoint(folder / "last.ckpt", weights_only=True)
    assert model.training_config.steps > int(changed[1])
    history = read_history(folder / "history.json")
    assert history.measured[-1]["step"] == int(changed[1])
    assert history.loss[0][1] > history.loss[-1][1]
    assert (folder / "config.yaml").is_file()


def test_a_run_can_be_audited_and_its_configuration_runs_again(capsys):
    assert fit(*SMALL, "--model.training.steps", "40", "--data.steps_per_epoch", "20", "--out", "a") == 0
    said = capsys.readouterr().out
    command = next(line for line in said.splitlines() if line.startswith("measure: memzoo ")).split()[2:]
    assert main([*command, "--steps", "5"]) == 0
    assert Path("a/audit/report.json").is_file()
    assert main(["fit", "--config", "a/config.yaml", "--out", "b"]) == 0
    assert all(torch.equal(result("a")[0][name], value) for name, value in result("b")[0].items())
    assert isinstance(FullyConnected.load_from_checkpoint("a/last.ckpt", weights_only=True), FullyConnected)


def test_iteration_starts_at_the_held_out_images():
    run = prepare(*SMALL, "--trainer.max_steps", "1")
    with pytest.warns(UserWarning, match="no `validation_step`"):
        run.trainer.fit(run.model, datamodule=run.datamodule)
    expected = run.datamodule.probes[: len(run.watch.starts)]
    assert torch.equal(run.watch.starts, expected)


def test_an_earlier_run_is_not_lost_by_accident(capsys):
    def again(steps, *arguments):
        return fit(*SMALL, *WATCHED, "--data.steps_per_epoch", "5", "--trainer.max_steps", str(steps), *arguments)

    assert again(5, "--out", "a") == 0
    first = result("a")[0]
    assert again(5, "--out", "a") == 1
    assert "a holds a run; --resume goes on with it, --overwrite replaces it" in capsys.readouterr().err
    assert again(5, "--out", "a", "--overwrite", "--seed_everything", "1") == 0
    other = result("a")[0]
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    assert again(10, "--out", "a", "--resume") == 0
    assert result("a")[1] == 10
    assert again(15, "--out", "b", "--ckpt_path", "a/last.ckpt") == 0
    found = [row["step"] for row in result("b")[2]["measured"]]
    assert found == [5, 10, 15]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no configuration file at "),
        ("broken", "the configuration is no readable YAML: "),
        # a field of a model, of its training, of a callback, and of the file itself
        ("field", "D1 has no 'filtres'. Did you mean filters? It takes shape, filters, activation"),
        ("training", "D1: training has no 'lrr'. Did you mean lr? It takes optimizer, lr, "),
        ("callback", "AttractorCallback has no 'stepps'. Did you mean steps?"),
        ("top", "the configuration has no 'dta'. Did you mean data?"),
        # files with another structure
        ("list", "the configuration list.yaml must map settings to values, got list."),
        ("outside", "model: filters must stand under init_args of D1."),
        ("nameless", "model needs a class_path, one of ConvAutoencoder, D1, "),
        ("folder", "folder.yaml is a folder; give the configuration file in it."),
        ("several", "trainer must map arguments to values, got [1, 2]."),
        ("nothing", "trainer must map arguments to values, got None."),
        # files that no YAML reader takes
        ("bytes", "the configuration is no readable YAML: bytes.yaml: 'utf-8' codec can't decode"),
        (
            "deep",
            "the configuration is no readable YAML: deep.yaml: while increasing flow level exceeded",
        ),
        (
            "circle",
            "the configuration is no readable YAML: circle.yaml: lists and mappings are nested more than 64 deep",
        ),
    ],
)
def test_a_wrong_configuration_file_is_refused_in_one_line(name, message, configurations, capsys):
    check_usage(["--config", f"{name}.yaml"], message, capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # classes that do not exist, and classes that are no module
        ("--model D7 --data MNIST20", "model: no class 'D7'. There are ConvAutoencoder, D1, D2, "),
        ("--model D1 --data MNIST21", "data: no class 'MNIST21'. Did you mean MNIST20?"),
        ("--model D1 --data ZooImages --data.id cifar-d1", "Did you mean cifar10-d"),
        ("--model D1 --data MNIST --data.indices a:b", "indices are start:stop"),
        ("--model LinearAutoencoder --data MNIST20", "LinearAutoencoder needs shape, under init_args."),
        ("", "the configuration needs data and model; see --print_config"),
        ("--model D1", "the configuration needs data; see --print_config"),
        ("--config own.yaml --model.widht 3", "FullyConnected has no 'widht'. Did you mean width?"),
        ("--model dropout_net.NoNet --data MNIST20", "model: 'dropout_net.NoNet' cannot be imported: "),
        ("--model pathlib.Path --data MNIST20", "model: 'pathlib.Path' is no LightningModule;"),
        ("-x", "unrecognized arguments: -x. See memzoo fit --help."),
        ("positional", "unrecognized arguments: positional. See memzoo fit --help."),
        ("--config", "--config needs a value: a configuration file."),
        ("--config=", "--config needs a value: a configuration file."),
    ],
)
def test_wrong_usage_is_refused_in_one_line(line, message, configurations, capsys):
    check_usage(shlex.split(line), message, capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # names and values that are wrong
        ("--model.widht 3", "FullyConnected has no 'widht'. Did you mean width?"),
        ("--model.width -3", "FullyConnected: width: Input should be greater than 0, got -3."),
        ("--trainer.max_stepss 3", "Did you mean max_steps?"),
        ("--trainer.accelerator none", "You selected an invalid accelerator name"),
        ("--trainer.callbacks AttractrCallback", "no class 'AttractrCallback'. Did you mean Attractor"),
        ("--trainer.callbacks+=AttractorCallback --trainer.callbacks.rotate=0", "at least 1, got 0"),
        ("--save_every_n_steps 0", "save_every_n_steps must be at least 1, got 0."),
        ("--model.width wide", "FullyConnected: width: Input should be a valid integer"),
        ("--model.training.steps '[1]'", "FullyConnected: steps: Input should be a valid integer"),
        ("--model.training.lrr 3", "FullyConnected: training has no 'lrr'. Did you mean lr?"),
        ("--dta.indices 0:3", "the configuration has no 'dta'. Did you mean data?"),
        ("--trainer.max_steps many", 'Parser key "trainer.max_steps"'),
        # the same in the form of JSON, and beside another mistake
        ("--model.init_args '{\"width\": 3}' --trainer.max_steps abc", "max_steps"),
        ("--trainer.callbacks '[\"AttractorCallback\"]' --trainer.max_steps abc", "max_steps"),
        ("'--trainer.callbacks+=[AttractorCallback]' --trainer.max_steps abc", "max_steps"),
        ("--trainer.callbacks '[\"AttractrCallback\"]'", "no class 'AttractrCallback'. Did you mean Attractor"),
        ("--model.init_args '{\"widht\": 3}'", "FullyConnected has no 'widht'. Did you mean width?"),
        # flags with a value, and options without one
        ("--resume yes", "unrecognized arguments: yes. See memzoo fit --help."),
        ("--out", "--out needs a value. See memzoo fit --help."),
        # values of a wrong type
        ("--trainer '[1, 2]'", "trainer must map arguments to values, got [1, 2]."),
        ("--trainer.logger CSVLogge", "trainer.logger takes Logger or Iterable[Logger] or bool or null, "),
        ("--seed_everything x", "seed_everything takes bool or int, got 'x'."),
        ("--data.batch_size x", "MNIST20: batch_size takes int or null, got 'x'."),
        (
            "--trainer.callbacks+=AttractorCallback --trainer.callbacks.steps=x",
            "AttractorCallback: steps takes int, got 'x'.",
        ),
        (
            "--trainer.logger=CSVLogger --trainer.logger.save_dir=logs --trainer.logger.flush_logs_every_n_steps=x",
            "flush_logs_every_n_steps",
        ),
        ("--model ..x.C", "model: '..x.C' cannot be imported: "),
    ],
)
def test_a_wrong_setting_of_a_run_is_refused_in_one_line(line, message, capsys):
    check_usage([*SMALL, *shlex.split(line)], message, capsys)


@pytest.fixture
def configurations():
    """Write configuration files with one mistake each into the folder of the test."""
    texts = {
        "broken": "model: [",
        "field": "model: {class_path: D1, init_args: {filtres: 64}}\ndata: MNIST20",
        "training": "model: {class_path: D1, init_args: {training: {lrr: 64}}}\ndata: MNIST20",
        "callback": "trainer: {callbacks: [{class_path: AttractorCallback, init_args: {stepps: 64}}]}",
        "top": "dta: {class_path: MNIST20}",
        "list": "- model",
        "outside": "model: {class_path: D1, filters: 64}\ndata: MNIST20",
        "nameless": "model: {init_args: {filters: 64}}\ndata: MNIST20",
        "wide": "class_path: FullyConnected\ninit_args: {width: 8}",
        "own": "model: wide.yaml\ndata: MNIST20",
    }
    texts |= {
        "several": "trainer: [1, 2]\nmodel: D1\ndata: MNIST20",
        "nothing": "trainer:\nmodel: D1\ndata: MNIST20",
        "deep": "model: " + "[" * 3000 + "]" * 3000,
        "circle": "model: &a {x: *a}\ndata: MNIST20",
    }
    for name, text in texts.items():
        Path(f"{name}.yaml").write_text(text)
    Path("bytes.yaml").write_bytes(b"model: \xff")
    Path("folder.yaml").mkdir()


def check_usage(arguments, message, capsys):
    assert main(["fit", *arguments]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memzoo fit: ")]
    assert len(said) == 1
    assert message in said[0]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "D1", "--data", "MNIST20"], "forward of D1 is no self-map of the tracked examples (1, 28, 28)"),
        ([*SMALL[:-2], "--data", "MNIST", "--data.root", "nowhere"], "no MNIST under "),
        ([*SMALL[:-2], "--data", "Images", "--data.path", "no.npz"], "no images at "),
        ([*SMALL, "--model.training.optimizer", "adaptive"], "the adaptive step of Theorem 1"),
        ([*SMALL, "--ckpt_path", "no.ckpt"], "no checkpoint at no.ckpt"),
    ],
)
def test_a_run_that_fails_ends_with_status_1(arguments, message, capsys):
    assert fit(*arguments) == 1
    assert f"memzoo: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", memzoo.models.ARCHITECTURES)
def test_every_architecture_has_its_fields_in_the_configuration(architecture, capsys):
    from memzoo.fitting import models

    fields = models.ARCHITECTURES[architecture].config_class.model_fields
    required = {"shape": "[1, 2, 2]", "units": "3"}
    unknown = {name for name, about in fields.items() if about.is_required()} - required.keys()
    assert not unknown, (
        f"{architecture} cannot be built without {', '.join(sorted(unknown))}: add a value to `required` in this test"
    )
    given = [f"--model.{name}={required[name]}" for name, about in fields.items() if about.is_required()]
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--model", architecture, "--data", "MNIST20", *given, "--print_config"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    missing = [name for name in (*fields, "training") if f"    {name}:" not in said]
    assert not missing, f"the configuration of {architecture} does not show {', '.join(missing)}"


@pytest.mark.parametrize(
    "given",
    [
        ["--config", "anchors.yaml"],
        ["--config", "trainer_apart.yaml"],
        ["--config", "{model: D1, data: MNIST20, trainer: {max_steps: 3}}"],
        ["--model", "D1", "--data", "MNIST20", "--trainer", "trainer.yaml"],
    ],
)
def test_what_the_parser_takes_is_not_refused_before(given, monkeypatch):
    seen = []
    monkeypatch.setattr("memzoo.fitting.fit", seen.append)
    Path("anchors.yaml").write_text("model: D1\ndata: MNIST20\ntrainer: {max_steps: &n 3, log_every_n_steps: *n}")
    Path("trainer.yaml").write_text("max_steps: 3")
    Path("trainer_apart.yaml").write_text("model: D1\ndata: MNIST20\ntrainer: trainer.yaml")
    assert fit(*given) == 0
    assert [run.trainer.max_steps for run in seen] == [3]


def test_help_is_that_of_the_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--help"])
    assert ended.value.code == 0
    assert "usage: memzoo fit" in capsys.readouterr().out


def test_other_commands_still_refuse_what_they_do_not_know(capsys):
    assert main(["list", "--frobnicate"]) == 2
    assert "unrecognized arguments: --frobnicate" in capsys.readouterr().err


PLANE = ["--model", "dropout_net.TwoPoints", "--data", "Images", "--data.path", "points.npz", "--out", "run"]


def two_points():
    members = np.float32([[1, 1], [-1, -1]])
    starts = np.float32([[0.5, 0.2], [-0.3, -0.6]])
    np.savez("points.npz", members=members, starts=starts)


def test_a_run_that_is_stopped_before_it_memorizes_delivers_clean_weights():
    two_points()
    watched = [*("--trainer.callbacks+=AttractorCallback", "--trainer.callbacks.every_n_steps=4")]
    rule = ["--trainer.callbacks+=StopBeforeMemorized"]
    assert fit(*PLANE, *watched, *rule, "--trainer.max_epochs", "60", "--data.steps_per_epoch", "4") == 0
    measured = read_history(Path("run/history.json")).measured
    assert max(measured[-2]["attractor/fraction"], measured[-2]["attractor/recovered"]) > 0
    assert measured[-1]["attractor/fraction"] == measured[-1]["attractor/recovered"] == 0
    stored = TwoPoints.load_from_checkpoint("run/last.ckpt", weights_only=True).eval()
    watch = AttractorCallback(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([[0.5, 0.2], [-0.3, -0.6]]))
    values = watch.measure(stored)
    assert values["attractor/residual"] == pytest.approx(measured[-1]["attractor/residual"])
    assert values["attractor/fraction"] == values["attractor/recovered"] == 0


def test_a_run_that_a_callback_has_ended_is_over(capsys):
    two_points()
    stop = ["--trainer.callbacks+=StopWhenMemorized", "--trainer.callbacks.measurements=1"]
    run = [*PLANE, "--trainer.callbacks+=AttractorCallback", "--trainer.callbacks.every_n_epochs=2", *stop]
    run += ["--trainer.max_epochs", "200", "--data.steps_per_epoch", "4"]
    assert fit(*run) == 0
    before = Path("run/last.ckpt").read_bytes()
    history = Path("run/history.json").read_text()
    capsys.readouterr()
    assert fit(*run, "--resume") == 0
    said = capsys.readouterr().out
    assert "the run in run is over, and nothing was trained: StopWhenMemorized: attractor/fraction = 1" in said
    assert Path("run/last.ckpt").read_bytes() == before
    assert Path("run/history.json").read_text() == history


def test_a_run_goes_on_to_a_later_end(capsys):
    watched = [*WATCHED, "--data.batch_size", "5"]
    assert fit(*SMALL, *watched, "--trainer.max_epochs", "2", "--out", "a") == 0
    assert fit(*SMALL, *watched, "--trainer.max_epochs", "4", "--out", "a", "--resume") == 0
    assert fit(*SMALL, *watched, "--trainer.max_epochs", "4", "--out", "b") == 0
    longer = result("a")
    unbroken = result("b")
    assert all(torch.equal(value, longer[0][name]) for name, value in unbroken[0].items())
    assert longer[1:] == unbroken[1:]


def test_every_callback_that_iterates_starts_from_the_held_out_images():
    run = prepare(*SMALL, "--trainer.callbacks+=TrajectoryLogger", "--trainer.callbacks.folder=pictures")
    run.datamodule.setup("fit")
    kinds = {type(callback).__name__: callback for callback in run.trainer.callbacks}
    for name, count in (("TrajectoryLogger", 4), ("AttractorCallback", 200)):
        starts = kinds[name].given_starts(run.datamodule.examples)
        assert torch.equal(starts, run.datamodule.probes[:count])


def test_an_error_in_their_own_module_keeps_its_traceback():
    two_points()
    with pytest.raises(IndexError, match=r"theirs"):
        fit(*PLANE, "--model.broken", "true", "--trainer.max_epochs", "1")
