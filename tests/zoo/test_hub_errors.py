"""Each error of the Hub's client says what happened and what to do; no network is asked."""

import errno
from types import SimpleNamespace

import pytest

from memzoo.errors import CheckpointMissingError, HubAccessError, HubUnreachableError, PublishError, StorageError
from memzoo.zoo.hub.errors import explain, explained, is_transient


def answered(status, **more):
    error = OSError("refused")
    error.response = SimpleNamespace(status_code=status)
    for name, value in more.items():
        setattr(error, name, value)
    return error


def named(name, *bases):
    return type(name, bases or (Exception,), {})


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (answered(401), HubAccessError, r"refuses \(401"),
        (answered(403), HubAccessError, r"refuses \(403"),
        (named("GatedRepoError")("x"), HubAccessError, r"refuses \(None"),
        (answered(412), PublishError, "has changed since it was looked at"),
        (answered(409, server_message="taken"), PublishError, r"does not take it \(409\): taken"),
        (answered(400), PublishError, r"does not take it \(400\): OSError: refused"),
        (answered(422), PublishError, r"does not take it \(422\)"),
        (named("RevisionNotFoundError")("x"), CheckpointMissingError, "has no such revision"),
        (named("EntryNotFoundError")("x"), CheckpointMissingError, "no such file in it"),
        (named("RepositoryNotFoundError")("x"), CheckpointMissingError, "no such repository"),
        (named("HFValidationError")("bad name\nmore"), CheckpointMissingError, "f: HFValidationError: bad name$"),
        (OSError(errno.ENOSPC, "full"), StorageError, "the disk or a quota is full"),
        (RuntimeError("failed (os error 28)"), StorageError, "the disk or a quota is full"),
        (RuntimeError("Os { code: 13 }"), StorageError, "the cache cannot be written"),
        (OSError(errno.EACCES, "closed"), StorageError, "the cache cannot be written"),
        (answered(500), HubUnreachableError, "answers 500"),
        (answered(400 - 1), HubUnreachableError, "cannot be reached, or the line was cut"),
        (named("TransportError")(), HubUnreachableError, r"cannot be reached, or the line was cut \(TransportError\)"),
        (named("TransportError", PermissionError)(errno.EACCES, "x"), HubUnreachableError, "cannot be reached"),
        (ValueError("x"), HubUnreachableError, "cannot be reached"),
    ],
)
def test_what_is_said_of_an_error(error, kind, message):
    found = explain("f", error)
    assert type(found) is kind
    with pytest.raises(kind, match=message):
        raise found


def test_without_network_by_choice(monkeypatch):
    monkeypatch.setattr("memzoo.zoo.hub.errors._offline", lambda: True)
    for name in ("OfflineModeIsEnabled", "LocalEntryNotFoundError"):
        found = explain("f", named(name)("x"))
        assert isinstance(found, HubUnreachableError)
        assert "HF_HUB_OFFLINE forbids to ask the Hub" in str(found)
    monkeypatch.setattr("memzoo.zoo.hub.errors._offline", lambda: False)
    assert "cannot be reached" in str(explain("f", named("LocalEntryNotFoundError", named("EntryNotFoundError"))("x")))


def test_who_was_refused(monkeypatch):
    for token, said in ((None, "no token was given"), ("hf_x", "the token was refused")):
        monkeypatch.setattr("huggingface_hub.get_token", lambda token=token: token)
        assert said in str(explain("f", answered(403)))


def test_errors_that_are_not_of_the_hub_are_passed_on():
    assert explain("f", KeyError("x")) is None
    with pytest.raises(KeyError), explained("f"):
        raise KeyError("x")
    with pytest.raises(StorageError, match="mine"), explained("f"):
        raise StorageError("mine")
    with pytest.raises(PublishError, match="f: the repository has changed") as caught, explained("f"):
        raise answered(412)
    assert isinstance(caught.value.__cause__, OSError)


def test_what_was_handled_before_is_not_the_cause():
    try:
        raise answered(403)
    except OSError:
        with pytest.raises(HubUnreachableError, match="line was cut"), explained("f"):
            int("x")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        *((answered(status), True) for status in (408, 429, 500, 502, 503, 504)),
        *((answered(status), False) for status in (400, 404, 501)),
        (named("ReadTimeout")(), True),
        (named("ReadError")(), True),
        (named("RemoteProtocolError")(), True),
        (OSError("Consistency check failed: file should be 3"), True),
        (ConnectionError("nobody listens"), False),
    ],
)
def test_what_is_worth_another_try(error, again):
    assert is_transient(error) is again
