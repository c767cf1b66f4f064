"""Each error of the Hub's client says what happened and what to do; no network is asked."""

import errno
import socket
import ssl
from types import SimpleNamespace

import pytest

from memzoo.errors import CheckpointMissingError, HubAccessError, HubUnreachableError, PublishError, StorageError
from memzoo.zoo.hub.errors import Failure, explain, explain_errors, is_transient
from memzoo.zoo.hub.secrets import hide_secrets

FILE_SYSTEM = [errno.ENOLCK, errno.ESTALE, errno.EIO, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP]
OF_NETWORK = [errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT]


def make_answer(status, **attributes):
    """Make an error as the client raises it for an answer of the Hub with this status."""
    error = OSError("refused")
    error.response = SimpleNamespace(status_code=status)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def make_class(name, *bases):
    """Make a class of errors with the name of one of the client's."""
    return type(name, bases or (Exception,), {})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (make_answer(401), r"refuses \(401"),
        (make_answer(403), r"refuses \(403"),
        (make_class("GatedRepoError")("x"), r"refuses \(None"),
    ],
)
def test_a_refusal_is_an_access_error(error, message):
    check_explanation(error, HubAccessError, message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (make_answer(412), "has changed since it was looked at"),
        (make_answer(409, server_message="taken"), r"does not take it \(409\): taken"),
        (make_answer(400), r"does not take it \(400\): OSError: refused"),
        (make_answer(422), r"does not take it \(422\)"),
    ],
)
def test_what_the_hub_does_not_take_is_a_publish_error(error, message):
    check_explanation(error, PublishError, message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("RevisionNotFoundError", "x", "has no such revision"),
        ("EntryNotFoundError", "x", "no such file in it"),
        ("RepositoryNotFoundError", "x", "no such repository"),
        ("HFValidationError", "bad name\nmore", "f: HFValidationError: bad name$"),
    ],
)
def test_what_does_not_exist_is_a_missing_checkpoint(name, text, message):
    check_explanation(make_class(name)(text), CheckpointMissingError, message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        # Python reports the number of the error, the storage written in Rust only its text
        (OSError(errno.ENOSPC, "full"), "the disk or a quota is full"),
        (RuntimeError("failed (os error 28)"), "the disk or a quota is full"),
        (RuntimeError("Os { code: 13 }"), "the cache cannot be written"),
        (OSError(errno.EACCES, "closed"), "the cache cannot be written"),
        *((OSError(number, "x"), "the file system of the cache fails") for number in FILE_SYSTEM),
        (OSError(errno.EMFILE, "x"), "too many files are open .*ulimit"),
        (make_class("TransportError", OSError)(errno.ENFILE, "x"), "too many files are open"),
    ],
)
def test_a_disk_that_cannot_be_written_is_a_storage_error(error, message):
    check_explanation(error, StorageError, message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (make_answer(500), "answers 500"),
        # no status of a server that failed
        (make_answer(399), "cannot be reached, or the line was cut"),
        (make_class("TransportError")(), r"cannot be reached, or the line was cut \(TransportError\)"),
        (make_class("TransportError", PermissionError)(errno.EACCES, "x"), "cannot be reached"),
        (ValueError("x"), "cannot be reached"),
        *((OSError(number, "x"), "cannot be reached") for number in OF_NETWORK),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "cannot be reached"),
        (ssl.SSLError(1, "x"), "cannot be reached"),
    ],
)
def test_everything_else_is_an_unreachable_hub(error, message):
    check_explanation(error, HubUnreachableError, message)


def check_explanation(error, kind, message):
    explained = explain(Failure("f", error))
    assert type(explained) is kind
    with pytest.raises(kind, match=message):
        raise explained


def test_the_message_says_when_the_user_forbade_the_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("OfflineModeIsEnabled", "LocalEntryNotFoundError"):
        explained = explain(Failure("f", make_class(name)("x")))
        assert isinstance(explained, HubUnreachableError)
        assert "HF_HUB_OFFLINE forbids to ask the Hub" in str(explained)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    not_cached = make_class("LocalEntryNotFoundError", make_class("EntryNotFoundError"))
    assert "cannot be reached" in str(explain(Failure("f", not_cached("x"))))


@pytest.mark.parametrize(("token", "said"), [(None, "no token was given"), ("hf_x", "the token was refused")])
def test_the_message_says_whether_there_was_a_token(monkeypatch, token, said):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    assert said in str(explain(Failure("f", make_answer(403))))


@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError, make_class("TooManyRedirects")])
def test_an_answer_that_the_client_cannot_read_is_one_of_the_hub(kind):
    with pytest.raises(HubUnreachableError, match=r"f: the Hub .*x"), explain_errors("f"):
        raise kind("x")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_errors_that_are_not_of_the_hub_are_passed_on(kind):
    with pytest.raises(kind), explain_errors("f"):
        raise kind("x")
    with pytest.raises(StorageError, match="mine"), explain_errors("f"):
        raise StorageError("mine")


def test_the_error_of_the_client_is_the_cause_of_ours():
    with pytest.raises(PublishError, match="f: the repository has changed") as caught, explain_errors("f"):
        raise make_answer(412)
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_that_was_handled_before_is_not_the_cause():
    try:
        raise make_answer(403)
    except OSError:
        with pytest.raises(HubUnreachableError, match="line was cut"), explain_errors("f"):
            int("x")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        *((make_answer(status), True) for status in (408, 429, 500, 502, 503, 504)),
        *((make_answer(status), False) for status in (400, 404, 501)),
        (make_class("ReadTimeout")(), True),
        (make_class("ReadError")(), True),
        (make_class("RemoteProtocolError")(), True),
        (OSError("Consistency check failed: file should be 3"), True),
        (ConnectionError("nobody listens"), False),
    ],
)
def test_only_errors_that_may_pass_are_worth_another_try(error, again):
    assert is_transient(Failure("f", error)) is again


def test_secrets_are_hidden_where_the_place_of_the_token_is_no_folder(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "file" / "token"))
    assert hide_secrets("https://me:secret@hub") == "https://***@hub"
