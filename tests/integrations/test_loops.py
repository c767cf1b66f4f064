"""Watch in the loops of other packages: the examples of docs/loops.md, and the same history as in a plain loop."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from memzoo import Watch
from memzoo.callbacks import StopWhenMemorized, transformers_callback
from memzoo.errors import InvalidArgumentError

PAGE = Path(__file__).parents[2] / "docs/loops.md"
pytestmark = pytest.mark.filterwarnings("ignore")  # those of the other packages are not ours to mend

POINTS = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
STARTS = torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("package", ["accelerate", "transformers", "diffusers"])
def test_the_example_of_the_page_runs(package, capsys):
    pytest.importorskip(package)
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (source,) = [block for block in blocks if re.search(rf"^from {package} import", block, re.MULTILINE)]
    names = {"__name__": "example"}
    exec(compile(source, str(PAGE), "exec"), names)
    assert names["watch"].history[-1]["attractor/measured"] == 1
    assert "Attractors among" in capsys.readouterr().out


class Plane(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, x):
        return {"loss": nn.functional.mse_loss(self.net(x), x), "logits": self.net(x)}


def watching(model, **options):
    settings = {"steps": 20, "every": 5, "self_map": lambda module, x: module(x)["logits"]}
    return Watch(model, POINTS, STARTS, **{**settings, **options})


def in_a_plain_loop(points=POINTS, steps=12, **options):
    model = Plane()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    watch = watching(model, **options)
    for _ in range(steps):
        loss = model(points)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss=loss)
    watch.measure()
    return watch


def rows_of(watch, *left_out):
    return [
        repr({key: value for key, value in row.items() if key not in ("seconds", *left_out)}) for row in watch.history
    ]


def make_accelerator(**options):
    """Make an Accelerator with options of its own: those of the first one hold for the process."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=True, **options)


def test_accelerate_has_the_history_of_a_plain_loop(tmp_path):
    accelerator = make_accelerator()
    model = Plane()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=5e-3))
    watch = watching(model)
    accelerator.register_for_checkpointing(watch)
    for step in range(12):
        loss = model(POINTS)["loss"]
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss=loss)
        if step == 7:
            accelerator.save_state(tmp_path)
    watch.measure()
    assert rows_of(watch) == rows_of(in_a_plain_loop())
    accelerator.load_state(tmp_path)
    assert [row["step"] for row in watch.history] == [5]


def test_the_map_of_accelerate_is_measured_without_mixed_precision():
    accelerator = make_accelerator(mixed_precision="bf16")
    model = Plane()
    expected = watching(Plane()).measure()
    prepared = accelerator.prepare(model)
    forward = prepared.forward
    found = watching(prepared).measure()
    assert {key: found[key] for key in found if "/" in key} == {key: expected[key] for key in expected if "/" in key}
    assert prepared.forward == forward  # the training keeps its precision
    assert torch.equal(prepared(POINTS)["logits"], prepared(POINTS)["logits"].bfloat16().float())
    make_accelerator()


class TrainerPlane(Plane):
    """Take the points under the name that the data set gives them."""

    def forward(self, points):
        return super().forward(points)


def train_with_transformers(folder, steps=12, *, resume=None, log=True, **options):
    transformers = pytest.importorskip("transformers")
    model = TrainerPlane()
    watch = watching(model, **options)
    arguments = transformers.TrainingArguments(
        str(folder),
        max_steps=steps,
        save_steps=7,
        logging_steps=5,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        max_grad_norm=0.0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    data = [{"points": POINTS[0]}]  # one, which the Trainer cannot shuffle
    trainer = transformers.Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, constant))
    trainer.add_callback(transformers_callback(watch, log=trainer.log if log else None))
    trainer.train(resume_from_checkpoint=resume)
    return trainer, watch


@pytest.mark.parametrize("log", [True, False])
def test_the_trainer_of_transformers_has_the_history_of_a_plain_loop(tmp_path, log):
    trainer, watch = train_with_transformers(tmp_path, log=log)
    assert rows_of(watch, "loss") == rows_of(in_a_plain_loop(POINTS[:1]), "loss")
    logged = trainer.state.log_history
    assert [entry["step"] for entry in logged if "attractor/fraction" in entry] == [5, 10, 12]
    assert [entry["step"] for entry in logged if "loss" in entry] == [5, 10]  # as without the callback


def test_a_resumed_trainer_of_transformers_continues(tmp_path):
    train_with_transformers(tmp_path)
    _, watch = train_with_transformers(tmp_path, resume=str(tmp_path / "checkpoint-7"))
    assert [row["step"] for row in watch.history] == [5, 10, 12]


def test_a_rule_stops_the_trainer_of_transformers(tmp_path):
    rule = StopWhenMemorized(0.5, measure="recovered")  # of two examples, one is trained on
    trainer, watch = train_with_transformers(tmp_path, steps=300, rules=[rule])
    assert trainer.state.global_step < 300
    assert watch.stopping_reason.startswith("StopWhenMemorized")


def test_the_trainer_of_transformers_needs_examples():
    pytest.importorskip("transformers")
    with pytest.raises(InvalidArgumentError, match="shows its batches to no callback: pass examples= to Watch"):
        transformers_callback(Watch(nn.Linear(2, 2)))
