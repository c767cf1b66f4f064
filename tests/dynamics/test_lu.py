"""Linear systems in a batch, on several threads as on one."""

from collections.abc import Iterator

import pytest
import torch

from memzoo.dynamics.spectra import lu
from memzoo.dynamics.spectra.lu import invert, solve


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the number of threads: torch's own batched factorisation goes wrong on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def build_matrices(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(batch, 300, 300, generator=generator, dtype=torch.float64)
    return torch.eye(300, dtype=torch.float64) + random / 40


@pytest.mark.parametrize("batch", [1, 8])
def test_solutions_solve(threads: int, batch: int) -> None:
    a = build_matrices(batch)
    b = torch.ones(8, 300, 2, dtype=torch.float64)
    x, solved = solve(a, b)
    assert solved.shape == (8,)
    assert solved.all()
    torch.testing.assert_close(a @ x, b)


def test_inverses_invert(threads: int) -> None:
    a = build_matrices(8)
    inverse, exists = invert(a)
    assert exists.all()
    expected = torch.eye(300, dtype=torch.float64).expand(8, -1, -1)
    torch.testing.assert_close(a @ inverse, expected)


@pytest.mark.parametrize("in_one_call", [False, True], ids=["one by one", "in one call"])
def test_singular_matrices_are_marked(monkeypatch: pytest.MonkeyPatch, in_one_call: bool) -> None:
    # A GPU takes all matrices in one call, in which a CPU gives sound results too for matrices of a few rows.
    monkeypatch.setattr(lu, "_has_sound_batches", lambda matrices: in_one_call)
    a = torch.stack([torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)])
    assert invert(a)[1].tolist() == [True, False]
    right = torch.ones(2, 3, 1, dtype=torch.float64)
    assert solve(a, right)[1].tolist() == [True, False]
    assert solve(a[1:], right)[1].tolist() == [False, False]


def test_no_matrices_have_no_solutions() -> None:
    none = torch.empty(0, 3, 3, dtype=torch.float64)
    right = torch.empty(0, 3, 2, dtype=torch.float64)
    for systems in (none, torch.eye(3, dtype=torch.float64)[None]):
        x, solved = solve(systems, right)
        assert (x.shape, solved.shape) == ((0, 3, 2), (0,))
    inverse, exists = invert(none)
    assert (inverse.shape, exists.shape) == ((0, 3, 3), (0,))
