from html.parser import HTMLParser

import pytest
import torch
from stand_in import draw_line

import memzoo
from memzoo.figures import Reproduction, Row, write_report
from memzoo.figures.report import render_page
from memzoo.zoo.entry import Published


class Page(HTMLParser):
    """Ids, links, pictures and words."""

    def __init__(self, text):
        super().__init__()
        self.ids = set()
        self.links = []
        self.pictures = []
        self.words = []
        self.open = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links += [attributes["href"]] if "href" in attributes else []
        self.pictures += [attributes["src"]] if tag == "img" else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def results(tmp_path):
    sound = Reproduction(
        "fig7",
        "Figure 7: a <title> & more",
        ("cifar10-d1",),
        (
            Row("largest <eigenvalue>", "1", 1.0, True, "cifar10-d1", ">= 0.99"),
            Row("second", "1", 0.5, False, "cifar10-d1"),
            Row("third", "", 0.001, None, "cifar10-d1"),
        ),
        {"x": torch.zeros(2)},
        draw_line,
        ("The paper's text is ambiguous.",),
        "How to read it.",
    )
    broken = Reproduction("recall", "Recall of a thing", ("local-dir:<mine>",), failed="weights have another SHA-256")
    for one in (sound, broken):
        one.save(tmp_path)
    return [sound, broken], tmp_path


def test_the_page_shows_every_row_and_picture_and_needs_nothing_else(results):
    found, folder = results
    path = write_report(found, folder)
    text = path.read_text()
    shown = Page(text)
    assert path == folder / "index.html"
    assert not list(folder.glob("*.part*"))
    words = " ".join(" ".join(shown.words).split())
    assert "Of 2 requirements 1 hold and 1 fall short; 1 further numbers are reported" in words
    assert "1 could not be made: recall." in words
    assert "largest <eigenvalue>" in words  # shown, not taken for a tag
    assert "weights have another SHA-256" in words
    assert "The paper's text is ambiguous." in words
    assert len(shown.pictures) == 1
    assert shown.pictures[0].startswith("data:image/png;base64,")
    assert "<script" not in text
    outside = [link for link in shown.links if not link.startswith("#")]
    assert all(link.startswith(("https://arxiv.org", "https://huggingface.co")) for link in outside)


def test_a_figure_of_which_nothing_is_asked_is_reported(tmp_path):
    text = render_page([Reproduction("fig7", "Figure 7: a title", (), (Row("third", "", 0.001, None),))], tmp_path)
    shown = Page(text)
    assert '<span class="reported">reported</span>' in text
    assert "holds (" not in " ".join(shown.words)
    assert not shown.pictures


def test_a_checkpoint_on_the_hub_has_a_link_to_its_commit(monkeypatch, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    update = {"hub": Published(repository="owner/name", commit=commit)}
    entry = memzoo.info("cifar10-d1").model_copy(update=update)
    monkeypatch.setattr("memzoo.figures.report.info", lambda name: entry)
    shown = Page(render_page([Reproduction("fig7", "Figure 7: a title", ("cifar10-d1",))], tmp_path))
    assert f"https://huggingface.co/owner/name/tree/{commit}" in shown.links
    assert "owner/name" in shown.words


def test_every_row_leads_to_its_checkpoint_recipe_and_command(results):
    found, folder = results
    shown = Page(render_page(found, folder))
    inside = {link.removeprefix("#") for link in shown.links if link.startswith("#")}
    assert inside <= shown.ids
    assert "checkpoint-cifar10-d1" in inside
    words = " ".join(shown.words)
    assert "memzoo train cifar10-d1" in words
    assert "memzoo verify cifar10-d1" in words
    assert "memzoo reproduce fig7 --out DIR" in words
    assert "optimizer = adam" in words
    assert "Not a checkpoint of the registry." in words  # the user's own
