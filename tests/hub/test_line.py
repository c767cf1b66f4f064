"""The line to the Hub: slow, endless or lying answers soon end in an error, and no file lies outside the cache."""

import pytest

LOAD = "memzoo.load('hf-hub:zoo/small-fc')"
REFUSED = """
import time
from memzoo.zoo.hub import line
line.ALLOWANCE_S = 1.0
line.SMALL_ANSWER = 0
before = time.monotonic()
with pytest.raises(errors.{kind}, match={message!r}) as caught:
    memzoo.load('hf-hub:zoo/small-fc')
assert time.monotonic() - before < {seconds}
"""


def refuse(client, message, kind="HubUnreachableError", seconds=5):
    """Load, and see it refused in time."""
    return client.run(REFUSED.format(kind=kind, message=message, seconds=seconds))


def files_outside(client):
    """List the files that are not in the cache."""
    paths = client.folder.rglob("*")
    return {path for path in paths if client.cache not in path.parents and not path.name.startswith("output-")}


@pytest.mark.parametrize("header", ["ETag", "X-Repo-Commit", "X-Linked-Etag"])
@pytest.mark.parametrize(
    "value", ["{outside}/owned", "../../../../../owned", 'W/"../../owned"', "a\\b", ".", "e" * 300]
)
def test_no_header_names_a_place_outside_the_cache(hub, client, publication, header, value):
    before = files_outside(client)
    hub.faults.headers = {"/resolve/": {header: value.format(outside=client.folder)}}
    refuse(client, f"the Hub .*answers with the {header} .*which cannot be the name of a file.*Check HF_ENDPOINT")
    assert files_outside(client) - before <= {client.cache.parent, client.cache}


def test_the_header_of_an_answer_that_there_is_no_such_file_names_no_place_either(hub, client, publication):
    hub.faults.headers = {"/resolve/.*": {"X-Repo-Commit": f"{client.folder}/owned", "X-Error-Code": "EntryNotFound"}}
    hub.faults.status = {"/resolve/": [404]}
    refuse(client, "answers with the X-Repo-Commit")
    assert not (client.folder / "owned").exists()


def test_a_redirect_without_end(hub, client, publication):
    hub.faults.status = {"/resolve/": [302] * 100}
    hub.faults.headers = {"/resolve/": {"Location": "/zoo/small-fc/resolve/main/config.json"}}
    refuse(client, "redirects")


@pytest.mark.parametrize(
    ("status", "header", "value"),
    [(429, "Retry-After", "3600"), (503, "Retry-After", "9" * 40), (429, "RateLimit", '"api";r=0;t=3600')],
)
def test_a_long_pause_is_not_made(hub, client, publication, status, header, value):
    hub.faults.status = {"/resolve/": [status] * 10}
    hub.faults.headers = {"/resolve/": {header: value}}
    refuse(client, f"answers {status} and asks to wait for")


def test_one_byte_at_a_time(hub, client, publication):
    hub.faults.trickle = 0.2
    refuse(client, "sends too slowly: .* bytes until now", seconds=6)
    assert not list(client.cache.glob("**/*.incomplete"))


def test_a_file_that_is_larger_than_the_disk(hub, client, publication):
    hub.faults.headers = {"/resolve/": {"X-Linked-Size": "9" * 17}}
    refuse(client, "the disk is full: it has 9{17} bytes.*HF_HOME to a folder", kind="StorageError")
    hub.faults.headers = {"/resolve/": {"X-Linked-Size": "9" * 17}}
    client.variables["HF_HUB_CACHE"] = str(client.folder / "other")
    refuse(client, "or set HF_HUB_CACHE to", kind="StorageError")


def test_more_than_was_announced(hub, client, publication):
    hub.faults.trickle = 0.001
    hub.faults.headers = {"/resolve/": {"X-Linked-Size": "10"}}
    refuse(client, "sends more than the 10 bytes")


def test_a_compressed_answer_that_nobody_asked_for(hub, client, publication):
    hub.faults.headers = {"/resolve/": {"Content-Encoding": "gzip"}}
    refuse(client, "answers in the form 'gzip', which it was not asked for")


@pytest.mark.parametrize(
    "number", ["ENOLCK", "ESTALE", "EIO", "ENOTDIR", "EMFILE", "ENOSPC", "EDQUOT", "EROFS", "ENAMETOOLONG"]
)
@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_an_error_of_the_file_system_is_one_of_storage(client, publication, number, variable):
    code = f"""
        import errno, fcntl, re
        def fail(descriptor, operation):
            raise OSError(errno.{number}, "said by the file system")
        fcntl.flock = fail
        with pytest.raises(errors.StorageError, match="said by the file system") as caught:
            {LOAD}
        assert errno.{number} == errno.EMFILE or "set {variable} to a folder" in str(caught.value).replace("Set", "set")
    """
    client.run(code, **{variable: str(client.folder / "there")})


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_file_in_the_place_of_the_cache(client, publication, variable):
    (client.folder / "file").write_text("not a folder")
    message = f"the file system of the cache fails.*Set {variable} to a folder"
    client.variables[variable] = str(client.folder / "file")
    refuse(client, message, kind="StorageError")


@pytest.mark.parametrize("password", ["s3cret-word", "s3cr%20et@word", "s3cret/wo?rd#"])
def test_the_password_of_an_address_stands_nowhere(client, publication, password):
    address = client.variables["HF_ENDPOINT"].partition("://")[2]
    said = client.run(
        """
        import logging, time, traceback
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("huggingface_hub").propagate = True
        time.sleep = lambda seconds: None
        for name in ("hf-hub:zoo/small-fc", "hf-hub:zoo/not-there"):
            try:
                memzoo.load(name)
            except errors.MemzooError:
                traceback.print_exc()
            else:
                raise AssertionError
        """,
        HF_ENDPOINT=f"http://user:{password}@{address[:-1]}9",
    )
    assert "Error" in said
    assert not [word for word in (password, "s3cr", "hf_right") if word in said]


def test_answers_that_are_not_those_of_a_hub(hub, client, publication):
    for answer in ("", "[]", "{}", "null", "[1]", '{"siblings": 3}'):
        client.run(f"""
            import json
            from huggingface_hub.utils import get_session
            from memzoo.zoo.hub import client, line
            session = get_session()
            def answer(response):
                response.read()
                response._content = {answer.encode()!r}
            line._install_hooks()
            get_session().event_hooks["response"].append(answer)
            for call in (client.find_head, client.list_tags):
                try:
                    call("zoo/small-fc")
                except errors.HubUnreachableError as error:
                    assert "zoo/small-fc: the Hub" in str(error)
        """)
