"""The line to the Hub: slow, endless or lying answers soon end in an error, and no file lies outside the cache."""

import pytest
from hub_server import git

PLACES = ["{folder}/owned", "../../../../../owned", 'W/"../../owned"', "a\\b", ".", "e" * 300]
"""What a header may hold in the place of a name."""
NAMES = [
    (
        {header: place},
        [],
        f"the Hub .*answers with the {header} .*which cannot be the name of a file.*Check HF_ENDPOINT",
    )
    for header in ("ETag", "X-Repo-Commit", "X-Linked-Etag")
    for place in PLACES
]
ANSWERS = [
    ({"X-Repo-Commit": PLACES[0], "X-Error-Code": "EntryNotFound"}, [404], "answers with the X-Repo-Commit"),
    ({"Location": "/zoo/small-fc/resolve/{tag}/config.json"}, [302] * 100, "redirects"),
    ({"Retry-After": "3600"}, [429] * 10, "answers 429 and asks to wait for 3600 s"),
    ({"Retry-After": "9" * 40}, [503] * 10, "answers 503 and asks to wait for 9"),
    ({"RateLimit": '"api";r=0;t=3600'}, [429] * 10, "answers 429 and asks to wait for 3600 s"),
    ({"Content-Encoding": "gzip"}, [], "answers in the form 'gzip', which it was not asked for"),
    ({"X-Linked-Size": "9" * 17}, [], "the disk is full: it has 9{17} bytes.*HF_HOME to a folder"),
]
"""Headers and statuses of an answer, and what is said of it."""
REFUSED = """
import time
from memzoo.zoo.hub import line
line.ALLOWANCE_S = 0.3
line.SMALL_ANSWER = 0
for name, message in {cases!r}:
    before = time.monotonic()
    with pytest.raises((errors.HubUnreachableError, errors.StorageError), match=message) as caught:
        memzoo.load(name)
    assert time.monotonic() - before < 5, name
    assert isinstance(caught.value, errors.StorageError) == ("disk" in message or "file system" in message)
"""


def refuse(client, message, name="hf-hub:zoo/small-fc"):
    """Load, and see it refused in time."""
    return client.run(REFUSED.format(cases=[(name, message)]))


def list_files_outside(client):
    """List the files that are not in the cache."""
    paths = client.folder.rglob("*")
    return {path for path in paths if client.cache not in path.parents and not path.name.startswith("output-")}


@pytest.mark.parametrize("answers", [NAMES, ANSWERS], ids=["names", "others"])
def test_an_answer_that_must_not_be_taken(hub, client, publication, answers):
    before = list_files_outside(client)
    cases = []
    for number, (headers, statuses, message) in enumerate(answers):
        tag = f"case-{number}"
        git(hub.path("zoo/small-fc"), "tag", tag, publication.commit)
        place = f"/resolve/{tag}/"
        hub.faults.headers[place] = {
            name: value.replace("{folder}", str(client.folder)).replace("{tag}", tag) for name, value in headers.items()
        }
        hub.faults.status[place] = list(statuses)
        cases.append((f"hf-hub:zoo/small-fc@{tag}", message))
    client.run(REFUSED.format(cases=cases))
    assert list_files_outside(client) - before <= {client.cache.parent, client.cache}


@pytest.mark.parametrize("known", [True, False], ids=["factory", "session"])
def test_a_new_session_is_watched_and_of_the_kind_that_the_user_has_set(hub, client, publication, known):
    hub.faults.headers = {"/resolve/": {"ETag": "../owned"}}
    client.run(f"""
        import time
        import huggingface_hub as theirs
        from memzoo.zoo.hub import line
        kind = type(theirs.get_session())
        made = []
        def make():
            made.append(kind(follow_redirects=True))
            return made[-1]
        theirs.set_client_factory(make)
        if not {known}:  # a version in which the factory has another name
            real = theirs.get_session
            theirs.get_session = lambda: real()
        def call():
            theirs.close_session()  # as the client does after an error
            time.sleep({0.0 if known else 0.3})
            return theirs.hf_hub_download("zoo/small-fc", "config.json")
        for _ in range(2):
            with pytest.raises(errors.HubUnreachableError, match="answers with the ETag"):
                line.watch_call(call, "config.json")
        session = theirs.get_session()
        assert session is made[-1]
        assert session.event_hooks["response"].count(line._see_response) == 1
    """)


def test_one_byte_at_a_time(hub, client, publication):
    hub.faults.trickle = 0.2
    refuse(client, "sends too slowly: .* bytes until now")
    assert not list(client.cache.glob("**/*.incomplete"))


def test_more_than_was_announced(hub, client, publication):
    hub.faults.trickle = 0.001
    hub.faults.headers = {"/resolve/": {"X-Linked-Size": "10"}}
    refuse(client, "sends more than the 10 bytes")


def test_an_error_of_the_file_system_is_one_of_storage(client, publication):
    client.run("""
        import errno, fcntl
        numbers = "ENOLCK ESTALE EIO ENOTDIR EMFILE ENOSPC EDQUOT EROFS ENAMETOOLONG"
        for number in [getattr(errno, name) for name in numbers.split()]:
            def fail(descriptor, operation):
                raise OSError(number, "said by the file system")
            fcntl.flock = fail
            with pytest.raises(errors.StorageError, match="said by the file system") as caught:
                memzoo.load("hf-hub:zoo/small-fc")
            assert number == errno.EMFILE or "set HF_HOME to a folder" in str(caught.value).replace("Set", "set")
    """)


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_file_in_the_place_of_the_cache(client, publication, variable):
    (client.folder / "file").write_text("not a folder")
    client.variables[variable] = str(client.folder / "file")
    refuse(client, f"the file system of the cache fails.*Set {variable} to a folder")


@pytest.mark.parametrize("password", ["s3cr%20et@word", "s3cret/wo?rd#"])
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
    client.run("""
        from huggingface_hub import get_session
        from memzoo.zoo.hub import client, line
        line._install_hooks()
        def answer(response):
            response.read()
            response._content = content.encode()
        get_session().event_hooks["response"].append(answer)
        for content in ("", "[]", "{}", "null", "[1]", '{"siblings": 3}'):
            for call in (client.find_head, client.list_tags):
                try:
                    call("zoo/small-fc")
                except errors.HubUnreachableError as error:
                    assert "zoo/small-fc: the Hub" in str(error)
    """)
