"""What the Hub's client raises, turned into errors that say what happened and what to do.

The client wraps its errors in others, differently from version to version: the whole chain of causes is looked at, and
classes are told apart by name.
"""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from memzoo.errors import (
    CheckpointMissingError,
    HubAccessError,
    HubUnreachableError,
    MemzooError,
    PublishError,
    StorageError,
)

TRANSIENT = {408, 429, 500, 502, 503, 504}
FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
CUT = {"ReadError", "RemoteProtocolError", "ReadTimeout"}
NETWORK = {"TransportError", "ConnectionError", "TimeoutException", "LocalEntryNotFoundError", "XetDownloadError"}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever the client raises while it gets ``what`` into an error of ours."""
    outer = sys.exc_info()[1]  # what the caller is handling has nothing to do with it
    try:
        yield
    except MemzooError:
        raise
    except Exception as error:
        mine = explain(what, error, outer)
        if mine is None:
            raise
        raise mine from error


def explain(what: str, error: BaseException, outer: BaseException | None = None) -> MemzooError | None:
    """The error of ours for one of the client's; None for one that is not about the Hub."""
    chain = list(_chain(error, outer))
    kinds, said, status, number = _kinds(chain), _said(chain), _status(chain), _errno(chain)
    if number in FULL:
        return StorageError(
            f"{what} could not be stored, the disk or a quota is full ({said}). Make room under {_cache()}, or set "
            "HF_HOME to a folder with more; nothing half-written is kept."
        )
    if "OfflineModeIsEnabled" in kinds or (_offline() and "LocalEntryNotFoundError" in kinds):
        return HubUnreachableError(
            f"{what} is not in the cache ({_cache()}), and HF_HUB_OFFLINE forbids to ask the Hub; unset it, or fetch "
            "everything beforehand with `memzoo download --all --to DIR` and set MEMZOO_DIR=DIR."
        )
    if status in (401, 403) or "GatedRepoError" in kinds:
        return HubAccessError(
            f"{what}: the Hub refuses ({status}, {'the token was refused' if _token() else 'no token was given'}): the "
            "repository is private, gated or not there. Set HF_TOKEN to a token that may do this, or log in with "
            "`hf auth login`."
        )
    if status == 412:
        return PublishError(f"{what}: the repository has changed since it was looked at; run it again.")
    if status in (400, 409, 422):
        return PublishError(f"{what}: the Hub does not take it ({status}): {_message(chain)}")
    if "RevisionNotFoundError" in kinds:
        return CheckpointMissingError(
            f"{what}: the Hub has no such revision; it was deleted, or the commit is mistyped. `memzoo verify --hub` "
            "compares registry and Hub; ID@main takes the newest."
        )
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return CheckpointMissingError(f"{what}: the Hub has the revision, but no such file in it.")
    if "RepositoryNotFoundError" in kinds:
        return CheckpointMissingError(
            f"{what}: the Hub has no such repository, or it is private and the token may not see it; check the name, "
            "and HF_TOKEN."
        )
    if "HFValidationError" in kinds:
        return CheckpointMissingError(f"{what}: {said}")
    if number in CLOSED and "TransportError" not in kinds:
        return StorageError(
            f"{what} is not in the cache, and the cache cannot be written ({said}). Set HF_HOME to a folder of your "
            f"own, or let its owner fetch it once; now it is {_cache()}."
        )
    if status is not None or kinds & NETWORK or isinstance(error, (OSError, RuntimeError, ValueError)):
        answer = f"answers {status}" if status is not None else "cannot be reached, or the line was cut"
        return HubUnreachableError(
            f"{what}: the Hub ({_endpoint()}) {answer} ({said}). Check the connection, HF_ENDPOINT and any proxy, and "
            "try again; what was fetched before stays usable without network. A server without Xet needs "
            "HF_HUB_DISABLE_XET=1."
        )
    return None


def is_transient(error: BaseException, outer: BaseException | None = None) -> bool:
    """Worth another try: the Hub is busy, or the line was cut; not where nobody listens."""
    chain = list(_chain(error, outer))
    status = _status(chain)
    if status is not None:
        return status in TRANSIENT
    return bool(_kinds(chain) & CUT) or _inconsistent(_said(chain))


def _chain(error: BaseException | None, outer: BaseException | None = None) -> Iterator[BaseException]:
    """The error, and what it came from, up to what was there before."""
    seen: set[int] = set()
    while error is not None and error is not outer and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _kinds(chain: list[BaseException]) -> set[str]:
    """Names of all classes that the errors are of."""
    return {kind.__name__ for link in chain for kind in type(link).__mro__}


def _said(chain: list[BaseException]) -> str:
    """First line of the deepest message."""
    deepest = chain[-1]
    lines = [line.strip() for line in str(deepest).splitlines() if line.strip()]
    return f"{type(deepest).__name__}: {lines[0]}" if lines else type(deepest).__name__


def _status(chain: list[BaseException]) -> int | None:
    """HTTP status of the answer that was refused."""
    for link in chain:
        code = getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(code, int) and code >= 400:
            return code
    return None


def _errno(chain: list[BaseException]) -> int | None:
    """Number of the system's error; the storage layer of the client gives it in its text alone."""
    for link in chain:
        in_text = re.findall(r"os error (\d+)|Os \{ code: (\d+)", str(link))
        numbers = [int(first or second) for first, second in in_text]
        for number in [*([link.errno] if isinstance(link, OSError) else []), *numbers]:
            if number in FULL | CLOSED:
                return number
    return None


def _message(chain: list[BaseException]) -> str:
    """What the Hub answered, in its own words."""
    said = next((text for link in chain if (text := getattr(link, "server_message", None))), None)
    return str(said or _said(chain))


def _inconsistent(said: str) -> bool:
    return "Consistency check failed" in said  # of the size, after a line that was cut


def _token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
