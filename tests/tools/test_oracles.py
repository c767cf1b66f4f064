"""The oracles: what they know holds, they notice what is wrong, and memzoo agrees with a few of their cases."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, spectrum
from memzoo.errors import InvalidArgumentError
from tools.oracles import __main__ as program
from tools.oracles import known_maps, small_networks
from tools.oracles import results as results_module
from tools.oracles.attractor_oracle import Oracle, measure_jacobian, measure_radius
from tools.oracles.foreign_modules import MODULES, ForeignModule
from tools.oracles.formulas import read_formula
from tools.oracles.known_maps import DIGITS, KINDS, Wanted, _draw_shear, _form_triangular, draw_map
from tools.oracles.module_checks import MEASURES, Reference, build_module
from tools.oracles.outcomes import Outcome, Truth, attempt
from tools.oracles.packaged_modules import PACKAGED
from tools.oracles.results import Results, format_table, select_faults
from tools.oracles.small_layers import Cells, Memory
from tools.oracles.small_networks import KINDS as NETWORKS
from tools.oracles.small_networks import draw_network
from tools.oracles.snapshots import list_changes, take_snapshot

# Maps of known spectrum


def compute_jacobian(known):
    """Compute the Jacobian of a known map by autograd, as an array."""
    return torch.func.jacrev(lambda row: known.f(row[None])[0])(known.point[0]).detach().double().numpy()


@pytest.fixture
def small(monkeypatch):
    """Let maps be of at most 96 dimensions, and trainings of a few steps."""
    monkeypatch.setattr(known_maps, "LARGEST", 96)
    monkeypatch.setattr(small_networks, "TRAINING", 5)


@pytest.mark.parametrize("number", range(3 * len(KINDS)))
def test_a_known_map_has_its_radius(number, small):
    # numpy's eigenvalues of the Jacobian, by autograd, are independent of how the radius is known
    known = draw_map(5, number)
    jacobian = compute_jacobian(known)
    values = np.linalg.eigvals(jacobian)
    # a defective eigenvalue of a block of m rows moves by the m-th root of the rounding
    room = {"Jordan blocks": 0.3, "sheared": 0.3, "triangular": 0.3, "narrow": 0.3}.get(known.kind, 1e-10)
    assert np.abs(values).max() == pytest.approx(known.truth.radius, rel=room)
    if known.sigma_max is not None:
        assert np.linalg.norm(jacobian, 2) == pytest.approx(known.sigma_max, rel=1e-6)


def test_an_exact_map_is_exact():
    # A matrix B A has the nonzero eigenvalues of A B, so that in rational numbers the traces agree, and so do those of
    # the squares: a rounding anywhere in the construction would show.
    rng = np.random.default_rng(0)
    for digits in DIGITS.values():
        wanted = Wanted(9, 1.5, digits)
        triangle = _form_triangular(rng, wanted)
        shear = _draw_shear(rng, 9)
        matrix = (np.eye(9) + shear) @ triangle @ (np.eye(9) - shear)
        exact = [[Fraction(entry) for entry in row] for row in matrix.tolist()]
        squares = sum(exact[i][j] * exact[j][i] for i in range(9) for j in range(9))
        assert squares == sum(Fraction(entry) ** 2 for entry in triangle.diagonal().tolist())
        assert np.abs(triangle.diagonal()).max() == 1.5
    assert np.array_equal(matrix, matrix.astype(np.float32))  # the digits of the last type


def test_the_same_seed_draws_the_same_map(small):
    first = draw_map(4, 7)
    again = draw_map(4, 7)
    assert torch.equal(first.f(first.point), again.f(again.point))
    assert not torch.equal(first.point, draw_map(5, 7).point) or first.truth != draw_map(5, 7).truth


@pytest.mark.parametrize(
    ("radius", "error", "verdict", "word"),
    [
        (0.9, 1e-9, "contracting", "right"),
        (0.9 + 1e-6, 1e-9, "contracting", "wrong"),
        (0.9 + 1e-6, 1e-5, "contracting", "right"),
        (0.9, 0.2, "undecided", "undecided"),
        (0.9, 0.0, "expanding", "wrong"),
        (math.nan, math.nan, "undecided", "undecided"),
        (math.nan, math.nan, "contracting", "wrong"),
        (0.9, math.inf, "contracting", "wrong"),
    ],
)
def test_a_radius_is_judged_by_its_bound(radius, error, verdict, word):
    assert Truth(0.9, 1e-12).judge(radius, error, verdict)[0] == word


def test_an_exact_one_is_rightly_undecided():
    assert Truth(1.0, 0.0).judge(1.0, 1e-9, "undecided")[0] == "right"
    assert Truth(1.0, 0.0).judge(1.0 - 1e-6, 1e-9, "contracting")[0] == "wrong"
    for verdict in ("contracting", "expanding"):  # although the bound holds
        assert Truth(1.0, 0.0).judge(1.0 - 1e-9, 1e-8, verdict)[0] == "wrong"


def test_errors_are_told_apart():
    def refuse():
        raise InvalidArgumentError("no")

    def fail():
        raise ValueError("other")

    assert attempt(lambda: 3) == (3, None, "")
    assert attempt(refuse)[1] == "refused"
    assert attempt(fail)[1] == "raw"


# Small networks


@pytest.mark.parametrize("number", range(len(NETWORKS)))
def test_the_formula_of_a_network_is_that_network(number, small):
    network = draw_network(3, number)
    x = network.examples + 0.1 * torch.randn(network.examples.shape).to(network.examples)
    output = network.module(x).detach().double().numpy()
    room = 300 * torch.finfo(x.dtype).eps * np.abs(output).max()
    if network.coarse:  # a sum that is rounded otherwise may fall on the other side of a step
        room = max(room, 0.2 * np.abs(output).max())
    np.testing.assert_allclose(read_formula(network.module)(x.double().numpy()), output, rtol=0, atol=room)


def judge(module, examples, eps=0.1, **options):
    options = {"margin": 1e-6, "coarse": False, **options}
    return Oracle(read_formula(module), examples, np.full(len(examples), eps), **options).judge()


POINTS = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, -3.0]])


def around(matrix, slopes=None, bound=None):
    """Return cells with this matrix at each of the points."""
    matrices = torch.tensor(matrix, dtype=torch.float64).expand(3, 2, 2).clone()
    return Cells(torch.from_numpy(POINTS), matrices, slopes, bound)


@pytest.mark.parametrize(
    ("matrix", "slopes", "attractor"),
    [
        ([[0.5, 0.0], [0.0, -0.8]], None, True),
        ([[0.0, -0.9], [0.9, 0.0]], None, True),
        ([[1.1, 0.0], [0.0, 0.5]], None, False),
        ([[-1.1, 0.0], [0.0, 0.5]], None, False),
        ([[0.5, 4.0], [0.0, 0.5]], None, True),  # swings out first
        ([[1.0, 0.0], [0.0, 1.0]], (0.5, 0.9), True),
        ([[1.0, 0.0], [0.0, 1.0]], (0.5, 1.1), False),  # a kink that is unstable to one side
        ([[1.0, 0.0], [0.0, 1.0]], (-0.5, -1.5), True),  # two steps multiply by .75
        ([[1.0, 0.0], [0.0, 1.0]], (-0.9, -1.5), False),
        ([[1.0, 0.0], [0.0, 1.0]], (1.0, 0.5), None),  # pushes to one side stay where they are
    ],
)
def test_the_oracle_knows_the_dynamics_of_cells(matrix, slopes, attractor):
    assert [found.attractor for found in judge(around(matrix, slopes), POINTS)] == [attractor] * 3


def test_the_oracle_refuses_what_is_no_attractor_of_the_example():
    module = around([[0.5, 0.0], [0.0, 0.5]])
    near = POINTS + np.array([0.0, 0.05])
    assert all(found.attractor for found in judge(module, near))
    assert not any(found.attractor for found in judge(module, near, eps=0.04))  # too far from their limits
    assert judge(module, near, eps=0.05)[0].attractor is None  # on the border
    apart = np.concatenate([POINTS, POINTS[:1] + np.array([0.0, 1.0])])
    found = judge(module, apart, eps=1.5)
    assert [one.attractor for one in found] == [False, True, True, False]  # one limit, two examples
    copies = np.concatenate([POINTS, near[:1]])
    assert all(found.attractor for found in judge(module, copies))  # a near-copy may share it
    twice = np.concatenate([POINTS, POINTS[:1]])
    assert all(found.attractor for found in judge(module, twice))  # exact copies may share it
    average = Memory(torch.from_numpy(POINTS), 1e-3)
    assert not any(found.attractor for found in judge(average, POINTS))
    turning = around([[0.0, -1.5], [1.5, 0.0]], bound=0.1)
    assert not any(found.attractor for found in judge(turning, near))  # a cycle


def test_differences_show_derivatives_and_kinks():
    matrix = np.array([[0.9, 5.0], [0.0, -0.3]])
    jacobian, disagreement = measure_jacobian(lambda x: np.sin(x) @ matrix.T, np.array([1e-3, 2e-3]))
    np.testing.assert_allclose(jacobian, matrix, atol=1e-4)
    assert disagreement < 1e-4
    assert measure_radius(lambda x: x @ matrix.T, np.ones(2))[0] == pytest.approx(0.9, abs=1e-6)
    assert math.isnan(measure_radius(lambda x: np.abs(x - 1), np.ones(2))[0])


# Modules


def list_changed(change, module):
    before = take_snapshot(module, module)
    change(module)
    return list_changes(before, take_snapshot(module, module))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda module: module[0].weight.data.mul_(1 + 1e-7), "module._modules.0._parameters.weight"),
        (lambda module: setattr(module[0], "weight", nn.Parameter(module[0].weight.clone())), "module._modules.0._pa"),
        (lambda module: module[1].running_mean.add_(1), "module._modules.1._buffers.running_mean"),
        (lambda module: setattr(module[1], "running_mean", module[1].running_mean + 1), "module._modules.1._buffers"),
        (lambda module: module[1].eval(), "module._modules.1.training"),
        (lambda module: module[0].register_forward_hook(lambda *_: None), "module._modules.0._forward_hooks"),
        (lambda module: setattr(module[0], "seen", [torch.zeros(2)]), "module._modules.0.seen"),
        (lambda module: module[0].table["x"].append(1), "module._modules.0.table.x.1"),
        (lambda module: module[0].weight.requires_grad_(False), "module._modules.0._parameters.weight"),
        (lambda module: module(torch.ones(3, 2)).sum().backward(), "module._modules.0._parameters.weight.grad"),
        (lambda module: torch.randn(1), "random torch"),
        (lambda module: np.random.random(), "random numpy"),  # noqa: NPY002
    ],
)
def test_a_snapshot_shows_every_change(change, path):
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[0].table = {"x": [0]}
    found = list_changed(change, module)
    assert any(name.startswith(path) for name in found), found


def test_a_snapshot_shows_nothing_where_nothing_changes():
    for name in ("LSTM", "scripted", "quantised", "old weight norm", "sparse COO", "lazy", "spectral norm"):
        foreign = build_module(MODULES[name], 1)
        with torch.no_grad():
            x = foreign.draw_points(2, 1)
            if name != "lazy":  # its first call gives it its shapes
                list_changed(lambda module, x=x: module(x), foreign.module)
                assert list_changed(lambda module, x=x: module(x), foreign.module) == [], name
        assert list_changed(lambda module: None, foreign.module) == [], name


def test_the_reference_of_a_module_is_that_module():
    foreign = build_module(MODULES["counter"], 1)
    x = foreign.draw_points(3, 1)
    reference = Reference(foreign)
    assert reference.dtype == torch.float64
    output = foreign.f(x).detach().double().numpy()
    np.testing.assert_allclose(reference.formula(x.double().numpy()), output, atol=1e-6)
    weight = foreign.module.layer.weight.detach().double()
    bias = foreign.module.layer.bias.detach().double()
    slopes = 1 - torch.tanh(weight @ x[0].double() + bias) ** 2
    radius = torch.linalg.eigvals(slopes[:, None] * weight).abs().max().item()
    assert reference.measure_truth(x[0]).radius == pytest.approx(radius, rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_of_a_plain_module_is_judged(measure):
    foreign = build_module(MODULES["double"], 1)
    examples = foreign.draw_points(4, 1)
    starts = foreign.draw_points(6, 2)
    found = MEASURES[measure].call(foreign.f, examples, starts)
    assert MEASURES[measure].judge(found, Reference(foreign), examples, starts)[0] == "right"


def test_the_wrong_radius_is_noticed():
    foreign = build_module(MODULES["double"], 1)
    examples = foreign.draw_points(4, 1)
    found = spectrum(foreign.f, examples[:2], top=1)
    found = dataclasses.replace(found, radius=found.radius + 0.01)
    assert MEASURES["spectrum"].judge(found, Reference(foreign), examples, examples)[0] == "wrong"
    certificates = certify(foreign.f, examples, steps=100)
    certificates = dataclasses.replace(certificates, radius=certificates.radius + 0.01)
    assert MEASURES["certify"].judge(certificates, Reference(foreign), examples, examples)[0] == "wrong"


def test_there_are_many_modules():
    assert len(MODULES) + len(PACKAGED) >= 30
    assert isinstance(build_module(MODULES["noise"], 1), ForeignModule)


# The program


def test_results_are_kept_for_the_same_sources_alone(tmp_path):
    for folder in ("memzoo", "tools/oracles"):
        (tmp_path / folder).mkdir(parents=True)
    source = tmp_path / "memzoo/map.py"
    source.write_text("x = 1\n")
    outcome = Outcome("kind", "measure", "wrong", "text")
    Results(tmp_path, "maps").add("case", [outcome])
    kept = Results(tmp_path, "maps")
    assert kept.known == {"case": [outcome]}
    with kept.file.open("a") as file:
        file.write('\n{"case": "cut o')  # a run was stopped while it wrote
    Results(tmp_path, "maps").add("other", [])
    assert set(Results(tmp_path, "maps").known) == {"case", "other"}
    source.write_text("x = 2\n")
    assert Results(tmp_path, "maps").known == {}


def test_the_table_counts_words():
    outcomes = [Outcome("a", "x", "right"), Outcome("a", "x", "wrong"), Outcome("b", "x", "undecided")]
    lines = format_table(outcomes).splitlines()
    assert lines[0].split() == ["kind", "measure", "number", "right", "undecided", "wrong"]
    assert [line.split() for line in lines[1:]] == [
        ["a", "x", "2", "1", "50%", "1", "50%"],
        ["b", "x", "1", "1", "100%"],
        ["all", "3", "1", "33%", "1", "33%", "1", "33%"],
    ]
    assert select_faults(outcomes) == [outcomes[1]]


def test_the_exit_status_tells_whether_anything_is_wrong(tmp_path, monkeypatch, capsys):
    made = []

    def draw(seed, count):
        for number in range(count):
            yield (
                f"case {number}.",
                lambda number=number: (
                    made.append(number) or [Outcome("kind", "measure", "wrong" if number == 2 else "right", "why")]
                ),
            )

    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setitem(program.PARTS, "maps", draw)
    monkeypatch.setattr(results_module, "_digest_sources", lambda root: "same")
    assert program.main(["maps", "--count", "2"]) == 0
    assert program.main(["maps", "--count", "3"]) == 1
    assert made == [0, 1, 2]  # what was measured before is not measured again
    assert "WRONG     case 2.  measure: why" in capsys.readouterr().out
    assert program.main(["maps", "--only", "case 1.", "--count", "3"]) == 0
    assert made == [0, 1, 2, 1]
