"""``memzoo publish`` and ``memzoo download`` of several checkpoints: one that fails does not keep the others."""

from types import SimpleNamespace

import pytest

import memzoo
from memzoo.cli import main, sharing
from memzoo.errors import HubAccessError


@pytest.fixture
def calls(monkeypatch):
    """Record what is published or downloaded; ``bad`` cannot be."""
    made = []

    def work(name, where, **options):
        made.append((name, str(where), options))
        if name == "bad":
            raise HubAccessError("no right to do this")
        return SimpleNamespace(yaml="entry: of it")

    monkeypatch.setattr(memzoo, "publish", work)
    monkeypatch.setattr(memzoo, "download", work)
    monkeypatch.setattr(
        sharing, "choose_available", lambda one, everything: ["good", "bad", "other"] if everything else [one]
    )
    return made


@pytest.mark.parametrize(("options", "shown"), [([], True), (["--dry-run"], False), (["--record", "r.yaml"], False)])
def test_all_are_published_each_under_its_name(calls, capsys, options, shown):
    assert main(["publish", "--all", "--namespace", "us", *options]) == 1
    expected = [("good", "us/good"), ("bad", "us/bad"), ("other", "us/other")]
    assert [call[:2] for call in calls] == expected
    assert {call[2]["dry_run"] for call in calls} == {"--dry-run" in options}
    printed = capsys.readouterr()
    assert "[1/3] " in printed.out
    assert "[3/3] " in printed.out
    assert "bad: FAILED\n  no right to do this" in printed.err
    assert ("The entry for the registry:\n\nentry: of it" in printed.out) is shown


def test_one_is_published_or_its_error_is_that_of_the_command(calls, capsys):
    assert main(["publish", "good", "us/mine"]) == 0
    assert calls[-1][:2] == ("good", "us/mine")
    assert "[1/1]" not in capsys.readouterr().out
    assert main(["publish", "bad", "us/mine"]) == 1
    assert "FAILED" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--all", "x", "--namespace", "us"], ["--all"], ["x"], ["x", "us/x", "--namespace", "us"], []],
)
def test_what_is_to_be_published_must_be_clear(calls, arguments):
    assert main(["publish", *arguments]) == 2
    assert not calls


def test_all_are_downloaded(calls, capsys):
    assert main(["download", "--all", "--to", "there"]) == 1
    expected = [("good", "there"), ("bad", "there"), ("other", "there")]
    assert [call[:2] for call in calls] == expected
    printed = capsys.readouterr()
    assert "[2/3] bad: FAILED\n  no right to do this" in printed.err
    assert "2 of 3 are there; to use them: export MEMZOO_DIR=" in printed.out
    assert main(["download", "bad", "--to", "there"]) == 1
    assert "FAILED" not in capsys.readouterr().err
    assert main(["download", "good", "--to", "there"]) == 0
    assert "1 of 1 are there" in capsys.readouterr().out
