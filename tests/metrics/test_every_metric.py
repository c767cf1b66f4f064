"""Every metric: its place in the tables and on the pages, and what all metrics have in common."""

import importlib
import inspect
import pickle
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from lightning.pytorch import LightningModule, Trainer
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric, MetricCollection

from memzoo import metrics
from memzoo.metrics.constant import ConstantDistance, constant_distance
from memzoo.metrics.dimension import LocalDimension
from memzoo.metrics.exact_metric import ExactMetric
from memzoo.metrics.identity import IdentityDistance, identity_distance
from memzoo.metrics.phi_eigen import PhiEigenResidual, phi_eigen_residual
from memzoo.metrics.phi_span import PhiSpanResidual, phi_span_residual
from memzoo.metrics.radius import SpectralRadius
from memzoo.metrics.reconstruction import ReconstructionError, reconstruction_error
from memzoo.metrics.recovery import RecoveryProbability, recovery_probability
from memzoo.metrics.span import SpanResidual, span_residual

GENERATOR = torch.Generator().manual_seed(3)
EXAMPLES = torch.rand(6, 2, 3, generator=GENERATOR) * 0.8 + 0.1
OUTPUTS = torch.rand(10, 2, 3, generator=GENERATOR) * 0.8 + 0.1
INPUTS = torch.rand(10, 2, 3, generator=GENERATOR) * 0.8 + 0.1
RADII = torch.rand(10, generator=GENERATOR) * 2
COUNTS = torch.randint(0, 9, (10,), generator=GENERATOR).double()

# name: (build the metric, its arguments for all rows, the value on all rows)
CASES = {
    "span": (lambda: SpanResidual(EXAMPLES[:2]), (OUTPUTS,), span_residual(OUTPUTS, EXAMPLES[:2]).mean()),
    "phi_span": (
        lambda: PhiSpanResidual(EXAMPLES[:2], torch.logit),
        (OUTPUTS,),
        phi_span_residual(OUTPUTS, EXAMPLES[:2], torch.logit).mean(),
    ),
    "phi_eigen": (PhiEigenResidual, (OUTPUTS, INPUTS), phi_eigen_residual(OUTPUTS, INPUTS).mean()),
    "relative": (ReconstructionError, (OUTPUTS, INPUTS), reconstruction_error(OUTPUTS, INPUTS).mean()),
    "mse": (
        lambda: ReconstructionError(kind="mse"),
        (OUTPUTS, INPUTS),
        reconstruction_error(OUTPUTS, INPUTS, kind="mse").mean(),
    ),
    "recovery": (
        lambda: RecoveryProbability(EXAMPLES, eps=0.5),
        (OUTPUTS,),
        recovery_probability(OUTPUTS, EXAMPLES, 0.5),
    ),
    "identity": (lambda: IdentityDistance((2, 3)), (OUTPUTS, INPUTS), identity_distance(OUTPUTS, INPUTS)),
    "constant": (lambda: ConstantDistance((2, 3)), (OUTPUTS, INPUTS), constant_distance(OUTPUTS, INPUTS)),
    "dimension": (LocalDimension, (COUNTS,), COUNTS.double().mean()),
    "largest": (SpectralRadius, (RADII,), RADII.double().max()),
    "mean": (lambda: SpectralRadius(reduce="mean"), (RADII,), RADII.double().mean()),
    "contracting": (lambda: SpectralRadius(reduce="contracting"), (RADII,), (RADII < 1).double().mean()),
}
# uneven parts: a mean of means would be another number
SPLIT = (slice(0, 3), slice(3, 7), slice(7, 10))
DOCS = Path(__file__).parents[2] / "docs"


def find_metrics():
    """Return every metric class that a file of memzoo.metrics defines, by its name."""
    files = [importlib.import_module(f"memzoo.metrics.{file.name}") for file in pkgutil.iter_modules(metrics.__path__)]
    kinds = [kind for file in files for kind in vars(file).values() if inspect.isclass(kind)]
    own = [kind for kind in kinds if issubclass(kind, Metric) and kind.__module__.startswith("memzoo.")]
    return {kind.__name__: kind for kind in own if not inspect.isabstract(kind)}


@pytest.mark.parametrize("name", find_metrics())
def test_every_metric_is_in_the_tables_and_on_the_pages(name):
    kind = find_metrics()[name]
    file = kind.__module__.replace(".", "/") + ".py"
    assert issubclass(kind, ExactMetric), f"{name} would lose digits: derive it from ExactMetric or RowMean in {file}"
    covered = {type(build()) for build, _, _ in CASES.values()}
    assert kind in covered, (
        f"{name} has no case: add a row to CASES in tests/metrics/test_every_metric.py, with how it is built, its "
        "arguments for all rows and its value on them"
    )
    function = re.sub(r"\B(?=[A-Z])", "_", name).lower()
    for public in (name, function):
        assert public in metrics.__all__, (
            f"memzoo.metrics does not show {public}: import it in memzoo/metrics/__init__.py and add it to __all__"
        )
    assert callable(getattr(metrics, function)), f"memzoo.metrics.{function} must be the function that {name} adds up"
    page = (DOCS / "metrics.md").read_text()
    assert f"| `{name}(" in page, (
        f"docs/metrics.md does not name {name}: add a row with | `{name}(...)` | to its first table"
    )
    words = function.replace("_", " ")
    assert f"| {words} |" in page.replace("-", " "), (
        f"docs/metrics.md has no equation of {name}: add a row that begins with | {words} | to its second table"
    )


@pytest.mark.parametrize("name", metrics.__all__)
def test_the_api_page_describes_everything_that_metrics_shows(name):
    assert f"memzoo.metrics.{name}\n" in (DOCS / "api.md").read_text(), (
        f"docs/api.md does not describe {name}: add memzoo.metrics.{name} under Metrics"
    )


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def update_in_parts(build, rows, splits=SPLIT):
    """Build a metric and update it with parts of the rows."""
    metric = build()
    for part in splits:
        metric.update(*(row[part] for row in rows))
    return metric


def assert_equal(found, expected):
    """Allow no more than the last digits to differ."""
    assert_close(found, expected, rtol=1e-12, atol=0)


def test_the_values_of_the_cases_are_not_trivial():
    assert all(0 < value < torch.inf for _, _, value in CASES.values())
    assert CASES["recovery"][2] < 1


def test_batches_equal_the_whole(case):
    build, rows, expected = case
    metric = update_in_parts(build, rows)
    assert_equal(metric.compute(), expected)
    assert metric.compute().dtype == torch.float64


def test_merged_states_equal_the_whole(case):
    build, rows, expected = case
    metric = update_in_parts(build, rows, SPLIT[:1])
    other = update_in_parts(build, rows, SPLIT[1:])
    other.merge_state(metric)
    assert_equal(other.compute(), expected)
    idle = build()  # a process that saw no row
    idle.merge_state(other)
    idle._update_count = 1
    assert_equal(idle.compute(), expected)


def test_forward_gives_the_batch_and_keeps_all(case):
    build, rows, expected = case
    metric = build()
    for part in SPLIT:
        batch = metric(*(row[part].requires_grad_() for row in rows))
        assert_equal(batch, update_in_parts(build, rows, [part]).compute())
        assert not batch.requires_grad
    assert metric.is_differentiable is False  # and it says so
    assert_equal(metric.compute(), expected)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before the ``update``")
def test_before_the_first_row_and_after_a_reset_it_is_nan(case):
    build, rows, expected = case
    assert build().compute().isnan()
    metric = update_in_parts(build, rows)
    metric.reset()
    assert metric.compute().isnan()
    metric.update(*(row[:0] for row in rows))  # an empty batch adds no row
    assert metric.compute().isnan()
    metric.update(*rows)
    assert_equal(metric.compute(), expected)


@pytest.mark.parametrize(
    "cast",
    [
        lambda m: m.half(),
        lambda m: m.float(),
        lambda m: m.double(),
        lambda m: m.to(torch.bfloat16),
        lambda m: m.to(torch.float16),
        lambda m: m.set_dtype(torch.float16),
        lambda m: torch.nn.Sequential(m).to(torch.bfloat16)[0],
    ],
)
def test_casts_lose_nothing(case, cast):
    build, rows, expected = case
    metric = cast(update_in_parts(build, rows, SPLIT[:1]))
    for part in SPLIT[1:]:
        metric.update(*(row[part] for row in rows))
    assert_equal(metric.compute(), expected)
    metric.reset()
    metric.update(*rows)
    assert_equal(metric.compute(), expected)


def test_states_move_with_the_device(case):
    build, rows, _ = case
    metric = update_in_parts(build, rows).to("meta")
    assert {value.device.type for value in metric.metric_state.values()} == {"meta"}
    assert metric.device.type == "meta"


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.clone()])
def test_copies_continue_where_the_metric_was(case, copied):
    build, rows, expected = case
    metric = update_in_parts(build, rows, SPLIT[:1])
    other = copied(metric)
    for part in SPLIT[1:]:
        other.update(*(row[part] for row in rows))
    assert_equal(other.compute(), expected)
    assert_equal(metric.compute(), update_in_parts(build, rows, SPLIT[:1]).compute())


def test_inference_mode_and_training_can_alternate(case):
    build, rows, expected = case
    metric = build()
    with torch.inference_mode():
        metric(*(row[SPLIT[0]].clone() for row in rows))
    metric.update(*(row[SPLIT[1]] for row in rows))
    metric(*(row[SPLIT[2]] for row in rows))
    assert_equal(metric.compute(), expected)


def test_autocast_changes_nothing(case):
    build, rows, expected = case
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(update_in_parts(build, rows).compute(), expected)


def test_plots_stay_in_bounds(case):
    build, rows, _ = case
    metric = update_in_parts(build, rows)
    _, axes = metric.plot()
    low, high = axes.get_ylim()
    assert low < 0
    metric.plot([metric.compute(), metric.compute()], ax=axes)
    if metric.plot_upper_bound is not None:
        assert high > 1


def test_state_dicts_hold_nothing(case):
    build, rows, _ = case
    metric = update_in_parts(build, rows)
    assert not metric.state_dict()  # checkpoints of a model stay as they are, and carry no examples


def test_thresholds_in_a_collection_stay_apart():
    # Before anything is reached, the states of both are equal, and torchmetrics would update only one of them.
    collection = MetricCollection(
        {"near": RecoveryProbability(EXAMPLES, eps=0.01), "far": RecoveryProbability(EXAMPLES, eps=0.5)}
    )
    for points in (EXAMPLES + 100, EXAMPLES + 0.1):
        collection.update(points)
    found = {name: value.item() for name, value in collection.compute().items()}
    assert found == {"near": 0, "far": 1}


def test_a_collection_gives_each_metric_its_arguments():
    collection = MetricCollection([ReconstructionError(), IdentityDistance((2, 3)), ConstantDistance((2, 3))])
    for part in SPLIT:
        collection.update(OUTPUTS[part], INPUTS[part])
    found = collection.compute()
    for name, key in (("ReconstructionError", "relative"), ("IdentityDistance", "identity")):
        assert_equal(found[name], CASES[key][2])
    assert_equal(found["ConstantDistance"], CASES["constant"][2])


def run_process(rank, file, results):
    """Run one of two processes: the first sees 7 rows in two batches, the second 3 in one."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = {}
    for name, (build, rows, _) in CASES.items():
        splits = SPLIT[:2] if rank == 0 else SPLIT[2:]
        metric = update_in_parts(build, rows, splits)
        found[name] = metric.compute()
        metric.update(*rows)  # after compute the states are those of this process again
        found[f"{name} again"] = metric.compute()
    torch.save(found, results / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_equal_one(tmp_path):
    arguments = (tmp_path / "meeting", tmp_path)
    context = torch.multiprocessing.start_processes(run_process, arguments, nprocs=2, join=False, start_method="fork")
    for _ in range(2):
        if context.join(timeout=30):
            break
    else:
        for child in context.processes:
            child.kill()
        pytest.fail("the two processes did not finish")
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, (build, rows, expected) in CASES.items():
            assert_equal(found[name], expected)
            # Both processes added all rows once more.
            thrice = update_in_parts(build, rows, [*SPLIT, slice(None), slice(None)])
            assert_equal(found[f"{name} again"], thrice.compute())


class Logs(LightningModule):
    """Log a metric as the documentation of torchmetrics shows it."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 6)
        self.error = ReconstructionError()
        self.seen = []

    def training_step(self, batch, batch_idx):
        x = batch[0].flatten(1)
        y = self.layer(x)
        self.seen.append(reconstruction_error(y.detach(), x))
        self.error(y, x)
        self.log("error", self.error, on_step=True, on_epoch=True)
        return (y - x).square().mean()

    def on_train_epoch_end(self):
        self.epoch = torch.cat(self.seen).mean()
        self.seen.clear()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_lightning_module_logs_the_mean_over_the_epoch(precision):
    model = Logs()
    loader = DataLoader(TensorDataset(INPUTS), batch_size=4)  # batches of 4, 4, 2: a mean of means would be off
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    found = trainer.callback_metrics["error_epoch"].double()
    assert_close(found, model.epoch, rtol=1e-6, atol=0)
    assert trainer.callback_metrics["error_step"] != trainer.callback_metrics["error_epoch"]
