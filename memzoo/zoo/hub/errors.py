"""Translate the errors of the Hub's client into errors that say what happened and what to do.

The client wraps its errors in others, and does so differently from version to version. A failure is therefore
recognised by the whole chain of its causes, and the classes in it by their names.
"""

import errno
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from memzoo.errors import (
    CheckpointMissingError,
    HubAccessError,
    HubUnreachableError,
    MemzooError,
    PublishError,
    StorageError,
)
from memzoo.zoo.hub.secrets import hide_secrets

TRANSIENT = {408, 429, 500, 502, 503, 504}
"""HTTP statuses that may be gone at the next try."""
# A full disk, a file larger than the file system allows, a quota that is used up.
STORAGE_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}
# Errors of the system that are of the network, and not of files.
OF_SOCKETS = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)
SOCKET_NUMBERS = {
    getattr(errno, name)
    for name in errno.errorcode.values()
    if re.match("ENET|EHOST|ECONN|EADDR|ESHUTDOWN|ENOTCONN|ENOTSOCK|ETIMEDOUT|EAFNOSUPPORT|EPROTO", name)
}
LONGEST_REASON = 300
"""Characters of another's words that a message repeats."""
# Names of classes of httpx, of the client and of its storage layer Xet.
CONNECTION_CUT = {"ReadError", "RemoteProtocolError", "ReadTimeout"}


@dataclass(frozen=True)
class Failure:
    """What can be learned from an error of the client."""

    what: str
    """What was asked of the Hub, in words."""
    error: BaseException
    handled_before: BaseException | None = None
    """The exception that the caller was handling already; it has nothing to do with this failure."""

    @cached_property
    def chain(self) -> list[BaseException]:
        """Return the error and its causes, from the outermost to the first."""
        chain: list[BaseException] = []
        link: BaseException | None = self.error
        while link is not None and link is not self.handled_before and link not in chain:
            chain.append(link)
            link = link.__cause__ or link.__context__
        return chain

    @cached_property
    def classes(self) -> set[str]:
        """Return the names of all classes of which the errors are instances."""
        return {kind.__name__ for link in self.chain for kind in type(link).__mro__}

    @cached_property
    def status(self) -> int | None:
        """Return the HTTP status of the answer, if it is an error."""
        for link in self.chain:
            code = getattr(getattr(link, "response", None), "status_code", None)
            if isinstance(code, int) and code >= 400:
                return code
        return None

    @cached_property
    def system_error(self) -> int | None:
        """Return the number of an error of the file system."""
        numbers = []
        for link in self.chain:
            if isinstance(link, OSError) and link.errno is not None and not isinstance(link, OF_SOCKETS):
                numbers.append(link.errno)
            # The storage layer of the client, which is written in Rust, gives the number in its text alone.
            in_text = re.findall(r"os error (\d+)|Os \{ code: (\d+)", str(link))
            numbers += [int(first or second) for first, second in in_text]
        numbers = [number for number in numbers if number not in SOCKET_NUMBERS]
        # A full disk may be followed by other errors, as of a file that is not there.
        full = [number for number in numbers if number in STORAGE_FULL | TOO_MANY_FILES]
        return next(iter(full + numbers), None)

    @property
    def reason(self) -> str:
        """Return the class and the first line of the error that came first."""
        first = self.chain[-1]
        lines = [line.strip() for line in str(first).splitlines() if line.strip()]
        return _shorten(": ".join([type(first).__name__, *lines[:1]]))

    @property
    def server_message(self) -> str:
        """Return the Hub's own words, or the reason if it gave none."""
        # Only some of the client's classes have this attribute.
        messages = (getattr(link, "server_message", None) for link in self.chain)
        return _shorten(str(next(filter(None, messages), self.reason)))

    @property
    def answer(self) -> str:
        """Say in words whether the Hub answered."""
        return "cannot be reached, or the line was cut" if self.status is None else f"answers {self.status}"

    @property
    def token(self) -> str:
        """Say in words whether a token was sent."""
        from huggingface_hub import get_token

        return "no token was given" if get_token() is None else "the token was refused"

    @property
    def cache_variable(self) -> str:
        """Return the variable that names the folder of the cache."""
        return name_cache_variable()

    @property
    def settings(self) -> Any:
        """Return the settings of the client, which it takes from environment variables."""
        from huggingface_hub import constants

        return constants


def name_cache_variable() -> str:
    """Return the variable that names the folder of the cache now: one of the two wins over the other."""
    return "HF_HUB_CACHE" if os.environ.get("HF_HUB_CACHE") else "HF_HOME"


def _shorten(text: str) -> str:
    """Shorten another's words to one printable line."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} ..."


class Cause(NamedTuple):
    """A cause of failures, and the error to raise for it."""

    applies: Callable[[Failure], bool]
    raises: type[MemzooError]
    message: str
    """A format string with one argument, the :class:`Failure`."""


def _was_offline(failure: Failure) -> bool:
    """Tell whether the file would have been fetched, had the user not forbidden the network."""
    not_cached = "LocalEntryNotFoundError" in failure.classes
    return "OfflineModeIsEnabled" in failure.classes or (not_cached and failure.settings.HF_HUB_OFFLINE)


def _lacks_file(failure: Failure) -> bool:
    """Tell whether the Hub answered that it has no such file; LocalEntryNotFoundError means that it did not answer."""
    return "EntryNotFoundError" in failure.classes and "LocalEntryNotFoundError" not in failure.classes


def _cannot_write(failure: Failure) -> bool:
    """Tell whether the file system failed; a socket that the system forbids to open has the same error number."""
    return failure.system_error is not None and "TransportError" not in failure.classes


CAUSES = (
    # A full disk comes first: the client may report it as a failed download, without any HTTP status.
    Cause(
        lambda failure: failure.system_error in STORAGE_FULL,
        StorageError,
        "{0.what} could not be stored, the disk or a quota is full ({0.reason}). Make room under "
        "{0.settings.HF_HUB_CACHE}, or set {0.cache_variable} to a folder with more; nothing half-written is kept.",
    ),
    Cause(
        _was_offline,
        HubUnreachableError,
        "{0.what} is not in the cache ({0.settings.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids to ask the Hub; unset "
        "it, or fetch everything beforehand with `memzoo download --all --to DIR` and set MEMZOO_DIR=DIR.",
    ),
    # The statuses come before the classes: the client gives a repository that may not be read the class of one that is
    # not there.
    Cause(
        lambda failure: failure.status in (401, 403) or "GatedRepoError" in failure.classes,
        HubAccessError,
        "{0.what}: the Hub refuses ({0.status}, {0.token}): the repository is private, gated or not there. Set "
        "HF_TOKEN to a token that may do this, or log in with `hf auth login`.",
    ),
    # 412: the commit on which the upload was to rest is no longer the newest one.
    Cause(
        lambda failure: failure.status == 412,
        PublishError,
        "{0.what}: the repository has changed since it was looked at; run it again.",
    ),
    Cause(
        lambda failure: failure.status in (400, 409, 422),
        PublishError,
        "{0.what}: the Hub does not take it ({0.status}): {0.server_message}",
    ),
    Cause(
        lambda failure: "RevisionNotFoundError" in failure.classes,
        CheckpointMissingError,
        "{0.what}: the Hub has no such revision; it was deleted, or the commit is mistyped. `memzoo verify --hub` "
        "compares registry and Hub; ID@main takes the newest.",
    ),
    Cause(
        _lacks_file,
        CheckpointMissingError,
        "{0.what}: the Hub has the revision, but no such file in it.",
    ),
    Cause(
        lambda failure: "RepositoryNotFoundError" in failure.classes,
        CheckpointMissingError,
        "{0.what}: the Hub has no such repository, or it is private and the token may not see it; check the name, and "
        "HF_TOKEN.",
    ),
    Cause(
        lambda failure: "HFValidationError" in failure.classes,
        CheckpointMissingError,
        "{0.what}: {0.reason}",
    ),
    Cause(
        lambda failure: failure.system_error in TOO_MANY_FILES,
        StorageError,
        "{0.what}: too many files are open ({0.reason}). Close some, or raise the limit (`ulimit -n`).",
    ),
    Cause(
        lambda failure: failure.system_error in READ_ONLY and _cannot_write(failure),
        StorageError,
        "{0.what} is not in the cache, and the cache cannot be written ({0.reason}). Set {0.cache_variable} to a "
        "folder of your own, or let its owner fetch it once; now it is {0.settings.HF_HUB_CACHE}.",
    ),
    Cause(
        _cannot_write,
        StorageError,
        "{0.what}: the file system of the cache fails ({0.reason}). Set {0.cache_variable} to a folder on another one, "
        "now it is {0.settings.HF_HUB_CACHE}; what lies there stays as it was.",
    ),
    # Whatever is left may be the network, which fails in more ways than can be listed.
    Cause(
        lambda _: True,
        HubUnreachableError,
        "{0.what}: the Hub ({0.settings.ENDPOINT}) {0.answer} ({0.reason}). Check the connection, HF_ENDPOINT and any "
        "proxy, and try again; what was fetched before stays usable without network. A server without Xet needs "
        "HF_HUB_DISABLE_XET=1.",
    ),
)
"""Causes in the order in which they are looked for: an error often shows signs of several, and the first one counts."""


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Replace each error that the client raises while it gets ``what`` by one of memzoo's."""
    _check_endpoint()
    handled_before = sys.exc_info()[1]
    try:
        yield
    except (MemzooError, MemoryError):
        raise
    except Exception as error:
        failure = Failure(what, error, handled_before)
        # A traceback prints the causes as well.
        secret = any(hide_secrets(str(link)) != str(link) for link in failure.chain)
        raise explain(failure) from None if secret else error


def _check_endpoint() -> None:
    """Raise if HF_ENDPOINT is no address; the client then cannot even be imported, and prints what it cannot read."""
    try:
        address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
        readable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise HubUnreachableError(
            "HF_ENDPOINT is no address such as https://host:port; in a password, / ? # [ ] @ are written as "
            "%2F %3F %23 %5B %5D %40."
        )


def explain(failure: Failure) -> MemzooError:
    """Return the error of memzoo for a failure."""
    cause = next(cause for cause in CAUSES if cause.applies(failure))
    return cause.raises(hide_secrets(cause.message.format(failure)))


def is_transient(failure: Failure) -> bool:
    """Tell whether another try may succeed: the Hub is busy or the line was cut, but somebody listens there."""
    if failure.status is not None:
        return failure.status in TRANSIENT
    # The client compares the size of what arrived with what was promised.
    incomplete = "Consistency check failed" in failure.reason
    return incomplete or bool(failure.classes & CONNECTION_CUT)
