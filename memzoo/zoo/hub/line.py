"""Watch the line to the Hub: nothing is waited for without end, and no answer decides where a file is written.

A call of the Hub's client runs in a thread of its own. The hooks of its HTTP library see each request and each answer;
the thread that waits for the call sees how much arrives.
"""

import re
import shutil
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from memzoo.errors import HubUnreachableError, MemzooError, StorageError
from memzoo.zoo.hub.errors import name_cache_variable
from memzoo.zoo.hub.secrets import hide_in_logs, hide_secrets

T = TypeVar("T")

ALLOWANCE_S = 30.0
"""How long a call may be in arrears with :data:`SLOWEST` before it ends."""
SLOWEST = 1000
"""Bytes that must arrive in a second."""
SILENCE_S = 10.0
"""How long a request waits for the next byte if the client sets no limit."""
IDLE_S = 600.0
"""How long a call may wait for another process, or for the storage layer of the client, while no file grows."""
LONGEST_PAUSE_S = 15
"""The longest pause before the next try that a busy Hub is granted."""
LARGEST_ANSWER = 2**26
"""Bytes of an answer whose length was not announced."""
SMALL_ANSWER = 2**16
"""Bytes of an answer, such as that about a token, that comes beside an announced file."""
TICK_S = 0.1
END_S = 3.0
"""How long a call that was cut may take to remove what it has written; the client makes a pause of 1 s first."""
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+=-]{0,127}")
"""What the client may take as the name of a file in its cache."""

_LINE: ContextVar["Line | None"] = ContextVar("memzoo_line", default=None)


class Line:
    """What one call sends and gets.

    Args:
        what: What is asked of the Hub, in words.
        grace: Seconds that it may be in arrears beyond :data:`ALLOWANCE_S`.
        folder: Folder in which files grow while it is served.
    """

    def __init__(self, what: str, grace: float, folder: Path | None) -> None:
        self.what = what
        self.allowance = ALLOWANCE_S + grace
        self.folder = folder
        self.error: MemzooError | None = None
        """Why nothing more is sent and taken."""
        self._credit = self.allowance
        self._idle = 0.0
        self._waits = False  # for the headers of an answer
        self._response: Any = None
        self._received = 0  # bytes of the answers before
        self._counted = 0
        self._written = 0
        self._announced: int | None = None

    # What the hooks see -----------------------------------------------------------------------------------------------

    def see_request(self, request: Any) -> None:
        """Let a request be sent: it waits for no answer without end, and none is compressed."""
        if self.error is not None:
            raise self.error
        # What is published is answered when the Hub has stored it.
        longest = SILENCE_S if request.method in ("GET", "HEAD") else self.allowance
        limits = request.extensions.get("timeout", {})
        for name, limit in limits.items():
            limits[name] = longest if limit is None else limit
        # A small answer that unpacks to a large one would fill memory or disk.
        request.headers["Accept-Encoding"] = "identity"
        self._waits = True

    def see_response(self, response: Any) -> None:
        """Look at the headers of an answer before its body is read."""
        self._received += self._count_current()
        self._response = response
        self._waits = False
        headers = response.headers
        is_head = response.request.method == "HEAD"
        self._check_names(headers, ["X-Repo-Commit", *(["X-Linked-Etag", "ETag"] if is_head else [])])
        self._check_pause(response.status_code, headers)
        if headers.get("Content-Encoding", "identity") != "identity":
            self._refuse(f"answers in the form {headers['Content-Encoding']!r}, which it was not asked for")
        if is_head and response.status_code < 400:
            self._announce(headers.get("X-Linked-Size") or headers.get("Content-Length") or "")

    def _check_names(self, headers: Any, names: list[str]) -> None:
        """Raise if the client would take a path from a header as the name of a file in its cache."""
        for name in names:
            value = headers.get(name)
            if value is not None and not NAME.fullmatch(value.removeprefix("W/").strip('"')):
                self._refuse(f"answers with the {name} {value[:60]!r}, which cannot be the name of a file")

    def _check_pause(self, status: int, headers: Any) -> None:
        """Raise if the Hub asks for a long pause, which the client would make."""
        if status < 400:
            return
        asked = [headers.get("Retry-After", "").strip()]
        asked += re.findall(r"t\s*=\s*(\d+)", headers.get("RateLimit", ""))
        longest = max((int(pause[:9]) for pause in asked if pause.isascii() and pause.isdigit()), default=0)
        if longest > LONGEST_PAUSE_S:
            self._refuse(f"answers {status} and asks to wait for {longest} s")

    def _announce(self, size: str) -> None:
        """Note the size of a file that comes next; raise if there is no room for it."""
        if not re.fullmatch(r"[0-9]{1,18}", size) or self.folder is None:
            return
        self._announced = int(size)
        place = next(folder for folder in [self.folder, *self.folder.parents] if folder.exists())
        free = shutil.disk_usage(place).free
        if self._announced > free:
            self.error = StorageError(
                f"{self.what} could not be stored, the disk is full: it has {self._announced} bytes, and there is room "
                f"for {free} in {place}. Make room there, or set {name_cache_variable()} to a folder with more."
            )
            raise self.error

    def _refuse(self, reason: str) -> None:
        self.error = self._make_error(reason)
        raise self.error

    def _make_error(self, reason: str) -> HubUnreachableError:
        from huggingface_hub import constants

        return HubUnreachableError(
            hide_secrets(
                f"{self.what}: the Hub ({constants.ENDPOINT}) {reason}. Check HF_ENDPOINT and any proxy, or try again "
                "later; what was fetched before stays usable without network."
            )
        )

    # What the waiting thread sees -------------------------------------------------------------------------------------

    def check(self, seconds: float) -> None:
        """Raise if too little has arrived, or too much, ``seconds`` after the last time."""
        current = self._count_current()
        limit = LARGEST_ANSWER if self._announced is None else max(self._announced, SMALL_ANSWER)
        if current > limit:
            self._refuse(f"sends more than the {limit} bytes that are to be expected")
        received = self._received + current
        if self._waits or (self._response is not None and not self._response.is_closed):
            gained = (received - self._counted) / SLOWEST
            self._credit = min(self.allowance, self._credit - seconds + gained)
            self._idle = 0.0
        else:
            written = self._count_written()
            self._idle = self._idle + seconds if written == self._written else 0.0
            self._written = written
        self._counted = received
        if self._credit < 0:
            self._refuse(f"sends too slowly: {received} bytes until now, less than {SLOWEST} a second")
        if self._idle > IDLE_S + self.allowance:
            self._refuse(f"has sent nothing for {self._idle:.0f} s, or another process holds the lock of the file")

    def _count_current(self) -> int:
        return 0 if self._response is None else self._response.num_bytes_downloaded

    def _count_written(self) -> int:
        """Count the bytes of the files that are not complete yet, whichever process writes them."""
        total = 0
        for path in self.folder.glob("*.incomplete") if self.folder is not None else ():
            with suppress(OSError):  # it is complete now, and has another name
                total += path.stat().st_size
        return total

    def hang_up(self) -> None:
        """Cut the connection, so that the thread that reads from it ends."""
        self.error = self.error or self._make_error("was not waited for")
        with suppress(Exception):  # the call may just have ended
            stream = self._response.extensions["network_stream"]
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def watch_call(call: Callable[[], T], what: str, *, grace: float = 0.0, repository: str | None = None) -> T:
    """Return the result of a call of the Hub's client, which ends in any case.

    Args:
        call: The call.
        what: What it asks for, in words.
        grace: Seconds that it may be in arrears with :data:`SLOWEST`, beyond :data:`ALLOWANCE_S`.
        repository: Repository of which a file is fetched into the cache.

    Raises:
        HubUnreachableError: The line is too slow, or the Hub answers what must not be taken.
        StorageError: There is no room for a file.
    """
    _install_hooks()
    hide_in_logs()  # of modules, too, that the client has imported since
    line = Line(what, grace, None if repository is None else _find_folder(repository))
    result: Future[T] = Future()

    def work() -> None:
        _LINE.set(line)
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    # A daemon: an interpreter that ends does not wait for the Hub.
    thread = Thread(target=copy_context().run, args=(work,), daemon=True)
    thread.start()
    try:
        before = time.monotonic()
        while not wait([result], timeout=TICK_S).done:
            _keep_hooks()
            now = time.monotonic()
            line.check(now - before)
            before = now
    except BaseException:
        line.hang_up()
        thread.join(END_S)
        raise
    if line.error is not None:
        raise line.error
    return result.result()


def _find_folder(repository: str) -> Path:
    """Return the folder of the cache in which the client writes files under another name until they are complete."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "blobs")


def _install_hooks() -> None:
    """Let the HTTP library of the client call the hooks; they do nothing outside of a call of ours."""
    from huggingface_hub import get_session, set_client_factory

    if _has_hooks(get_session()):
        return
    # The client makes a new session after an error: the factory, and not the session alone, must have the hooks. No
    # public name tells the factory that the user has set; a client without this one gets the hooks in _keep_hooks.
    make_session = getattr(sys.modules.get(get_session.__module__), "_GLOBAL_CLIENT_FACTORY", None)
    if callable(make_session):
        set_client_factory(lambda: _add_hooks(make_session()))
    _keep_hooks()


def _keep_hooks() -> None:
    """Give the hooks to the session of now: the client has made it without them, or the user has changed the factory.

    The client waits for a second before it uses a new session.
    """
    from huggingface_hub import get_session

    session = get_session()
    if not _has_hooks(session):
        _add_hooks(session)


def _has_hooks(session: Any) -> bool:
    return _see_response in session.event_hooks["response"]


def _add_hooks(session: Any) -> Any:
    session.event_hooks["request"].append(_see_request)
    session.event_hooks["response"].append(_see_response)
    return session


def _see_request(request: Any) -> None:
    line = _LINE.get()
    if line is not None:
        line.see_request(request)


def _see_response(response: Any) -> None:
    line = _LINE.get()
    if line is not None:
        line.see_response(response)
