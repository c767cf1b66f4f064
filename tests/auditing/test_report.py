"""Test the folder, the JSON, the page and the text of an audit."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import memzoo

IMAGES = torch.rand(8, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MEMBERS = IMAGES[:4]
CONTROLS = IMAGES[4:]
STARTS = torch.rand(40, 1, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def stores(x):
    """Move half of the way to the nearest member."""
    flat = MEMBERS.flatten(1)
    goal = flat[torch.cdist(x.flatten(1), flat).argmin(1)].reshape(x.shape)
    return (x + goal) / 2


@pytest.fixture(scope="module")
def found():
    return memzoo.audit(stores, MEMBERS, STARTS, controls=CONTROLS)


class Page(HTMLParser):
    """Collect the tags of a page and all addresses in it."""

    def __init__(self, text):
        super().__init__()
        self.sources = []
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def test_the_folder_holds_the_page_the_numbers_and_every_attractor(found, tmp_path):
    folder = found.save(tmp_path / "report")
    assert sorted(path.name for path in folder.iterdir()) == ["attractors", "report.html", "report.json"]
    content = json.loads((folder / "report.json").read_text())
    files = [name for one in content["attractors"]["found"] for name in one["files"]]
    assert sorted(files) == sorted(f"attractors/{path.name}" for path in (folder / "attractors").iterdir())
    for attractor, name in zip(found.attractors.found, files, strict=True):
        pixels = np.asarray(Image.open(folder / name))
        values = attractor.points[0, 0].numpy()
        # a pixel is the nearest of 256 grey values
        assert np.abs(pixels - 255 * values).max() <= 0.5 + 1e-9
    found.save(folder)  # an older report is replaced
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_is_no_report_is_kept(found, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"holds 'thesis.tex', which is of no report"):
        found.save(tmp_path)
    with pytest.raises(FileExistsError, match=r"is a file"):
        found.save(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_report_that_fails_leaves_no_file(found, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.auditing.folder.encode_png", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_the_json_has_every_number_and_no_nan(found):
    content = json.loads(found.json, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["format"] == 3
    assert content["verdict"] == found.verdict
    expected = found.members.recovered_at.tolist()
    assert [row["recovered_at"] for row in content["members"]] == expected
    assert [row["distance"] for row in content["controls"]] == [None] * 4
    assert content["summary"]["controls"]["recovered_share"]["estimate"] == 0
    assert content["summary"]["recovered_p"] == found.recovered_p
    assert all("adjusted for the three tests by Holm's method" in text for text in (found.json, str(found)))
    assert "each p-value adjusted for the\nthree tests by Holm's method" in found.html
    assert content["summary"]["ever_recovered_p"] == found.ever_recovered_p
    assert [row["eps"] for row in content["members"]] == found.members.eps.tolist()
    for group, images in (("members", found.members), ("controls", found.controls)):
        assert content["summary"][group]["recovered"] == int(images.recovered.sum())
        assert content["summary"][group]["ever_recovered"] == int(images.ever_recovered.sum())
        assert content["settings"][f"eps_of_{group}"]["median"] == images.eps.quantile(0.5).item()


def test_the_json_has_the_settings_and_the_attractors(found):
    content = json.loads(found.json)
    assert {"eps", "steps", "seed", "starts", "shape"} <= content["settings"].keys()
    assert content["settings"]["shape"] == [1, 4, 5]
    assert content["versions"].keys() == {"memzoo", "torch"}
    assert sum(one["starts"] for one in content["attractors"]["found"]) == 40
    assert {one["image"]["group"] for one in content["attractors"]["found"]} == {"members"}


def test_the_page_needs_no_other_file(found):
    page = Page(found.html)
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "http" not in found.html
    assert found.html.index(found.verdict.split(";")[0]) < found.html.index("<table>")


def test_the_page_shows_each_member_that_came_out_and_lists_all(found):
    out = int(found.members.recovered.sum())
    assert out
    assert len(re.findall(r"<figcaption>training image \d+: step", found.html)) == out
    assert "All 4 training images" in found.html
    assert "All 4 controls" in found.html


def test_the_page_shows_a_limited_number_of_pictures_and_says_so(monkeypatch, found):
    monkeypatch.setattr("memzoo.auditing.page.SHOWN", 1)
    out = int(found.members.recovered.sum())
    assert len(re.findall(r"<figcaption>training image \d+: step", found.html)) == 1
    assert f"1 of {out} are shown" in found.html
    assert f"1 of {len(found.attractors.found)} are shown" in found.html


def test_the_name_of_the_map_is_escaped():
    def f(x):
        return x / 2

    f.__name__ = "<script>alert(1)</script>"
    page = memzoo.audit(f, starts=STARTS).html
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_without_members_the_page_claims_nothing_about_them():
    found = memzoo.audit(stores, starts=STARTS)
    assert json.loads(found.json)["members"] is None
    assert "training image " not in found.html
    assert "Where the starts end" in found.html
    assert "only a comparison with the training set" in str(found)


def test_the_text_is_short_and_begins_with_the_verdict(found):
    lines = str(found).splitlines()
    assert lines[0] == found.verdict
    assert len(lines) < 25
    assert "20 %" not in lines[0]
    assert any(line.startswith("controls") and "0 of 4, 0 % (0 to 49 %)" in line for line in lines)  # Wilson
