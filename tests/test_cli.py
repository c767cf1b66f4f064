import json
import re
import runpy
import subprocess
import sys

import pytest
from lightning.pytorch import Trainer

import memzoo
from memzoo.cli import main
from memzoo.errors import CorruptCheckpointError
from memzoo.zoo.recipes.training import Trained
from memzoo.zoo.registry.registries import home


def test_list(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == memzoo.list_models()
    assert main(["list", "cifar10-*", "--json"]) == 0
    found = [entry["id"] for entry in json.loads(capsys.readouterr().out)]
    assert found == memzoo.list_models("cifar10-*")


def test_info(capsys):
    assert main(["info", "fig7"]) == 0
    assert capsys.readouterr().out.startswith("cifar10-d1:\n  title: ")
    assert main(["info", "fig7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["training"]["steps"] == 10000


def test_verify(capsys, shared_facts):
    assert main(["verify", "cifar10-d1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["ok"]
    assert result["verdict"] == "verified"
    assert result["versions"].keys() == result["recorded_with"].keys()
    assert {"measured", "ours", "paper", "ok"} <= result["facts"][0].keys()


def test_verify_says_what_is_not_on_the_hub(capsys):
    assert main(["verify", "--all", "--hub"]) == 0
    out = capsys.readouterr().out
    assert "unpublished cifar10-d1 is not on the Hub" in out
    assert f"0 of {len(memzoo.list_models())} are the same in the registry and on the Hub." in out
    assert main(["verify", "cifar10-d1", "--hub", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kind"] == "unpublished"


def test_download(capsys, tmp_path):
    assert main(["download", "fig3b", "--to", str(tmp_path)]) == 0
    assert "1 of 1 are there; to use them: export MEMZOO_DIR=" in capsys.readouterr().out
    folder = tmp_path / "checkpoints/mnist20-fc14x128"
    assert memzoo.load(f"local-dir:{folder}").entry.id == "mnist20-fc14x128"


def test_verify_fails_with_status_1_when_a_fact_does_not_hold(capsys, monkeypatch):
    monkeypatch.setitem(memzoo.zoo.measures.facts.MEASURES, "eigenvalue", lambda measurements, rank: 0.5)
    assert main(["verify", "cifar10-d1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("cifar10-d1: FAILED\n  FAIL largest eigenvalue")


def test_verify_all_goes_on_after_a_damaged_checkpoint(capsys, monkeypatch):
    verify = memzoo.verify

    def verify_all_but_one(name, **options):
        if name == "cifar10-d1":
            raise CorruptCheckpointError("cut short")
        return verify(name, **options)

    monkeypatch.setattr("memzoo.zoo.verify", verify_all_but_one)
    monkeypatch.setattr("memzoo.zoo.list_models", lambda: ["cifar10-d1", "mnist20-fc14x128"])
    assert main(["verify", "--all"]) == 1
    captured = capsys.readouterr()
    assert "cifar10-d1: FAILED\n  cut short" in captured.err
    assert "mnist20-fc14x128: verified" in captured.out


def test_reproduce(capsys, tmp_path):
    assert main(["reproduce", "fig7", "--out", str(tmp_path)]) == 0
    assert "1, 1, [< 2e-3]" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fig7.json", "fig7.pdf", "fig7.png"]


def test_reproduce_all_ends_with_a_page(capsys, monkeypatch, tmp_path):
    from memzoo.figures import FIGURES

    few = {name: FIGURES[name] for name in ("fig7", "table1")}
    monkeypatch.setattr("memzoo.figures.FIGURES", few)
    assert main(["reproduce", "--all", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.index("Figure 7:") < output.index("Table 1:") < output.index("index.html")
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert 'href="#checkpoint-cifar10-d1"' in page


def test_reproduce_lists_what_there_is(capsys):
    from memzoo.figures import FIGURES

    assert main(["reproduce", "--list"]) == 0
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert found == list(FIGURES)


def test_reproduce_all_fails_where_a_figure_could_not_be_made(capsys, monkeypatch, tmp_path):
    from memzoo.figures import FIGURES, Figure

    broken = Figure("fig7", "Figure 7: broken", FIGURES["fig7"].arrays, FIGURES["fig7"].draw, lambda: ["nothing"])
    monkeypatch.setattr("memzoo.figures.FIGURES", {"fig7": broken})
    monkeypatch.setattr("memzoo.figures.catalogue.FIGURES", {"fig7": broken})
    assert main(["reproduce", "--all", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "NOT MADE: no checkpoint 'nothing'" in captured.out
    assert "fig7 could not be made; the page says why" in captured.err
    assert "no checkpoint" in (tmp_path / "index.html").read_text()


def test_train_reports_what_was_not_reached(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.recipes.unfinished_run.Trainer", short)
    assert main(["train", "mnist20-fc14x128", "--out", str(tmp_path), "--record", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "memzoo.load('local-dir:" in captured.out
    assert "FAIL certified attractors" in captured.out
    assert "not recorded, a required bound is not met" in captured.err
    assert main(["train", "mnist20-fc14x128", "--out", str(tmp_path)]) == 1
    assert "exists; give another --out" in capsys.readouterr().err


OURS = ("seed", "data_root", "overwrite")


def short(**options):
    """Limit the training of any recipe to two steps."""
    return Trainer(**{**options, "enable_progress_bar": False, "enable_model_summary": False, "max_steps": 2})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # names that no checkpoint and no figure has
        ("info cifar-d1", "Did you mean cifar10-d1"),
        ("verify nothing", "no checkpoint 'nothing'"),
        ("reproduce fig13 --out x", "no figure 'fig13'. Did you mean fig"),
        ("verify local-dir:HOME/checkpoints/cifar10-d1", "has no registry entry, so there is nothing"),
        ("publish cifar10-d1 nowhere", "'nowhere' is no repository of the Hub: it must be 'organisation/name'"),
        # a name like no other: some names are listed, and the command that lists all
        ("train #", "more (memzoo list and memzoo reproduce --list)."),
        ("reproduce # --out x", "more (memzoo reproduce --list)."),
        ("--registry HOME list", "is a folder; name the registry file in it, such as "),
    ],
)
def test_a_name_that_cannot_be_used_ends_with_status_1(line, message, capsys, no_training):
    check_refusal(line, 1, message, capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # arguments that exclude or need each other
        ("reproduce --all --checkpoint cifar10-d1", "--checkpoint goes with the name of one figure"),
        ("verify", "give one name, or --all"),
        ("verify cifar10-d1 --all", "give one name, or --all"),
        ("reproduce", "give one name, or --all"),
        ("publish --all", "publish --all takes --namespace NAME, and no id"),
        ("publish cifar10-d1", "publish takes an id and a repository such as someone/cifar10-d1"),
        ("download --to x", "give one name, or --all"),
        ("download cifar10-d1", "required: --to"),
        # slips of the pen, with a suggestion
        ("publich", "invalid choice: 'publich'. Did you mean publish?"),
        ("lst", "invalid choice: 'lst'. Did you mean list"),
        ("list --jsn", "unrecognized arguments: --jsn. Did you mean --json?"),
        ("list a b", "unrecognized arguments: b. See memzoo list --help."),
        ("verify --dat=x --all", "unrecognized arguments: --dat=x. Did you mean --data"),
        ("--registri x list", "unrecognized arguments: --registri. Did you mean --registry"),
        ("audit --seed one --checkpoint x", "Got value: one. See memzoo audit --help."),
        # options of the Trainer are written with a dot
        ("train cifar10-d1 --trainer ddp", "unrecognized arguments: --trainer ddp"),
        ("train cifar10-d1 --trainer=ddp", "unrecognized arguments: --trainer=ddp"),
        ("train cifar10-d1 --train 5", "unrecognized arguments: --train 5"),
        ("verify cifar10-d1 --trainer.max_steps 3", "unrecognized arguments: --trainer.max_steps 3"),
        ("train cifar10-d1 --trainer.wings 2", "not an option of the Trainer"),
        ("train cifar10-d1 --trainer.max_stps=2", "not an option of the Trainer. Did you mean max_steps"),
        ("train cifar10-d1 --trainer.max_steps few", "Got value: few"),
        ("", "required: COMMAND"),
        ("train cifar10-d1 --trainer.zzzz 3", "more (memzoo fit --help)."),
        # options that stand before the command
        ("--registry", "--registry needs a value: a registry file, before COMMAND. See memzoo --help."),
        ("info", "the following arguments are required: ID. See memzoo info --help."),
        ("list --registry x", "--registry FILE stands before COMMAND: memzoo --registry FILE list."),
        ("reproduce --list extra", "--list names all figures, and takes neither a name nor --all."),
    ],
)
def test_wrong_usage_ends_with_status_2(line, message, capsys, no_training):
    check_refusal(line, 2, message, capsys)


@pytest.fixture
def no_training(monkeypatch):
    """Replace the training of a recipe, so that a line that is taken by mistake ends at once."""
    monkeypatch.setattr("memzoo.zoo.recipes.train_recipe", lambda id, out, **_: Trained(out / id, ()))


def check_refusal(line, status, message, capsys):
    assert main(line.replace("HOME", str(home())).split()) == status
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("memzoo: ")
    assert said.count("\n") == 1


LIGHT = [
    ("--help", 0),
    ("--version", 0),
    ("list", 0),
    ("list cifar10-* --json", 0),
    ("--registry FILE list", 0),
    ("info cifar10-d1", 0),
    ("info cifar10-d1 --json", 0),
    ("info nothing", 1),
    ("train --help", 0),
    ("reproduce --help", 0),
    # errors are found without torch, too
    ("lst", 2),
    ("list --jsn", 2),
    ("fitt --model D1", 2),
    ("verify", 2),
    ("verify --hub", 2),
    ("download --to x", 2),
    ("publish --all", 2),
    ("reproduce", 2),
    ("audit --checkpoint x --steps 0", 2),
    ("audit --checkpoint x --shape 0,1", 2),
    ("train nosuch", 1),
    ("", 2),
]
EACH_LINE_BY_ITSELF = """
import json, os, runpy, sys
import memzoo.cli
folder = sys.argv[1]
for number, line in enumerate(json.load(sys.stdin)):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    output = os.open(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1), os.dup2(output, 2)
    sys.argv = ["memzoo", *line]
    try:
        runpy.run_module("memzoo", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        print("status", ended.code or 0)
    print("heavy", sorted({"torch", "lightning", "timm", "numpy", "matplotlib", "jinja2"} & set(sys.modules)))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Return what memzoo prints for each line, and what it has imported then: each in a fork of one process."""
    folder = tmp_path_factory.mktemp("answers")
    lines = [line.replace("FILE", str(home() / "checkpoints.yaml")).split() for line, _ in LIGHT]
    code = [sys.executable, "-c", EACH_LINE_BY_ITSELF, str(folder)]
    subprocess.run(code, input=json.dumps(lines), check=True, text=True)
    return {line: (folder / str(number)).read_text() for number, (line, _) in enumerate(LIGHT)}


@pytest.mark.parametrize(("line", "status"), LIGHT)
def test_what_only_reads_answers_without_torch(line, status, answers):
    assert answers[line].endswith(f"status {status}\nheavy []\n"), answers[line]


@pytest.mark.parametrize("command", ["list", "info", "train", "verify", "fit", "publish", "reproduce", "audit"])
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: memzoo {command} ")


def test_a_table_is_trained_row_by_row_and_goes_on_where_it_stopped(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.recipes.unfinished_run.Trainer", short)
    bounded = [id for id in memzoo.list_models(figure="table2") if memzoo.info(id).facts[0].least is not None]
    ids = bounded[:3]
    monkeypatch.setattr("memzoo.zoo.checkpoints_of", lambda name: {"table2": ids}[name])  # the others are no different
    (tmp_path / ids[1]).mkdir()  # was there before
    assert main(["train", "table2", "--out", str(tmp_path)]) == 1  # two steps reach nothing
    out = capsys.readouterr().out
    assert f"{tmp_path / ids[1]} is there already, and is kept" in out
    assert not list((tmp_path / ids[1]).iterdir())
    assert all((tmp_path / id / "model.safetensors").is_file() for id in (ids[0], ids[2]))
    main(["train", "table2", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("is there already") == len(ids)


def test_a_run_that_differs_from_the_recipe_is_not_recorded(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.verification.Row.holds", True)
    arguments = ["--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false", "--record", str(tmp_path)]
    assert main(["train", "mnist20-fc14x128", "--out", str(tmp_path), *arguments]) == 1
    captured = capsys.readouterr()
    assert "not recorded, trained with other Trainer options than the recipe: stopped at step 2." in captured.err
    assert "recorded mnist20" not in captured.out


def test_an_entry_without_facts_is_reported_and_recorded(capsys, tmp_path, monkeypatch):
    recorded = []
    monkeypatch.setattr("memzoo.zoo.recipes.train_recipe", lambda *_, **__: Trained(tmp_path / "done", ()))
    monkeypatch.setattr("memzoo.zoo.record", lambda *arguments: recorded.append(arguments))
    assert main(["train", "cifar10-d1", "--record", str(tmp_path)]) == 0
    assert "wrote " in capsys.readouterr().out
    assert recorded == [(tmp_path / "done", tmp_path)]


def test_another_process_of_a_distributed_run_says_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.recipes.train_recipe", lambda *_, **__: Trained(tmp_path / "done", None))
    assert main(["train", "cifar10-d1", "--record", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_each_training_has_loggers_of_its_own(tmp_path, monkeypatch):
    seen = []

    def note(id, out, **options):
        seen.append(options["logger"])
        return Trained(out / id, ())

    monkeypatch.setattr("memzoo.zoo.recipes.train_recipe", note)
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", str(tmp_path)]
    assert main(["train", "table2", "--out", str(tmp_path), *logger]) == 0
    assert len(seen) == len({id(logger) for logger in seen}) == len(memzoo.list_models(figure="table2"))


def test_train_gives_the_trainer_what_is_on_the_command_line_and_no_default(tmp_path, monkeypatch):
    seen = []

    def note(id, out, **options):
        seen.append({name: value for name, value in options.items() if name not in OURS})
        return Trained(out / id, ())

    monkeypatch.setattr("memzoo.zoo.recipes.train_recipe", note)
    given = ["--trainer.devices", "2", "--trainer.precision=bf16-mixed", "--trainer.logger", "false"]
    assert main(["train", "cifar10-d1", *given, "--trainer.max_steps=-1"]) == 0
    assert main(["train", "cifar10-d1"]) == 0
    expected = [{"devices": "2", "precision": "bf16-mixed", "logger": False, "max_steps": -1}, {}]
    assert seen == expected


@pytest.mark.parametrize("before", [[], ["--registry", "FILE"], ["--registry=FILE"]])
def test_fit_gets_its_trainer_options_also_behind_a_registry(before, tmp_path, monkeypatch):
    seen = []
    registry = home() / "checkpoints.yaml"
    monkeypatch.setattr("memzoo.fitting.fit", seen.append)
    before = [word.replace("FILE", str(registry)) for word in before]
    model = ["--model", "FullyConnected", "--data", "MNIST20", "--out", str(tmp_path)]
    assert main([*before, "fit", *model, "--trainer.max_steps", "3", "--trainer.logger", "false"]) == 0
    assert [run.trainer.max_steps for run in seen] == [3]


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "--all"],
        ["verify", "--all", "--hub"],
        ["download", "--all", "--to", "there"],
        ["publish", "--all", "--namespace", "somebody", "--dry-run"],
    ],
)
def test_a_broken_entry_does_not_stop_all(arguments, capsys, tmp_path, monkeypatch):
    whole = (home() / "checkpoints.yaml").read_text()
    start = whole.index("mnist20-fc14x128:")
    text = whole[start : whole.index("\n\n", start)]
    text = text.replace("mnist20-fc14x128:", "broken:", 1)
    text = re.sub("  aliases: .*\n", "", text)
    (tmp_path / "own.yaml").write_text(re.sub("architecture: .*", "architecture: Nope", text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("memzoo.zoo.registry.registries._registered", [])
    monkeypatch.setattr("memzoo.zoo.list_models", lambda: ["broken", "cifar10-d1"])
    assert main(["--registry", "own.yaml", *arguments]) == 1
    captured = capsys.readouterr()
    assert "broken: FAILED\n  " in captured.err
    assert "architecture 'Nope' is none of" in captured.err
    assert "cifar10-d1" in captured.out + captured.err  # its turn came


def test_modules_are_attributes_of_their_package():
    code = """
import importlib, memzoo.zoo, memzoo.models, pkgutil, sys
packages = [memzoo.zoo, memzoo.models]
for package in list(packages):
    about = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    packages += [importlib.import_module(part.name) for part in about if part.ispkg]
assert "torch" not in sys.modules
for package in packages:
    names = [about.name for about in pkgutil.iter_modules(package.__path__) if not about.name.startswith("_")]
    assert set(names) <= set(dir(package)), set(names) - set(dir(package))
    assert all(getattr(package, name).__name__ == f"{package.__name__}.{name}" for name in names)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments",
    [["verify", "--all"], ["download", "--all", "--to", "x"], ["publish", "--all", "--namespace", "somebody"]],
)
def test_all_of_nothing_is_no_success(arguments, capsys, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.is_available", lambda name: False)
    assert main(arguments) == 1
    assert "is in this installation or on the Hub, so there is nothing to do" in capsys.readouterr().err


def test_only_checkpoints_are_packed_into_the_wheel(tmp_path):
    pytest.importorskip("hatchling")
    if not (home() / "hatch_build.py").is_file():
        pytest.skip("needs the source tree")
    hook = runpy.run_path(str(home() / "hatch_build.py"))["SmallCheckpoints"]
    folder = tmp_path / "checkpoints/small"
    for name in ("small/within", ".small-abc", "empty"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints/notes.txt").write_text("stray")
    for path in (folder / "config.json", folder / "within/deep.txt", tmp_path / "checkpoints/.small-abc/config.json"):
        path.write_text("{}")
    build: dict = {"force_include": {}}
    hook(str(tmp_path), {}, None, None, "", "wheel").initialize("standard", build)
    assert build["force_include"] == {
        "checkpoints.yaml": "memzoo/checkpoints.yaml",
        "checkpoints/small/config.json": "memzoo/checkpoints/small/config.json",
    }
