"""The folder, the JSON and the page of an audit."""

import json
import re
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

import memzoo
from memzoo.auditing.curve import recovery_svg
from memzoo.auditing.pictures import png, value_range

IMAGES = torch.rand(8, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MEMBERS, CONTROLS = IMAGES[:4], IMAGES[4:]
STARTS = torch.rand(40, 1, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def stores(x):
    flat = MEMBERS.flatten(1)
    goal = flat[torch.cdist(x.flatten(1), flat).argmin(1)].reshape(x.shape)
    return (x + goal) / 2


@pytest.fixture(scope="module")
def found():
    return memzoo.audit(stores, MEMBERS, STARTS, controls=CONTROLS)


class Pictures(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def test_the_folder_holds_page_numbers_and_every_attractor(found, tmp_path):
    folder = found.save(tmp_path / "report")
    assert sorted(path.name for path in folder.iterdir()) == ["attractors", "report.html", "report.json"]
    content = json.loads((folder / "report.json").read_text())
    files = [name for one in content["attractors"]["found"] for name in one["files"]]
    assert sorted(files) == sorted(f"attractors/{path.name}" for path in (folder / "attractors").iterdir())
    for one, name in zip(found.attractors.found, files, strict=True):
        pixels = np.asarray(Image.open(folder / name))
        assert np.abs(pixels - 255 * one.points[0, 0].numpy()).max() <= 0.5 + 1e-9
    found.save(folder)  # an older report is replaced
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_of_something_else_is_kept(found, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"holds 'thesis.tex', which is of no report"):
        found.save(tmp_path)
    with pytest.raises(FileExistsError, match=r"is a file"):
        found.save(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_nothing_is_left_half_written(found, tmp_path, monkeypatch):
    monkeypatch.setattr("memzoo.auditing.folder.png", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_the_json_has_every_number_and_no_nan(found):
    content = json.loads(found.json, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["format"] == 1
    assert content["verdict"] == found.verdict
    assert [row["recovered_at"] for row in content["members"]] == found.members.recovered_at.tolist()
    assert [row["distance"] for row in content["controls"]] == [None] * 4
    assert content["summary"]["controls"]["recovered_share"]["estimate"] == 0
    assert content["summary"]["recovered_p"] == found.recovered_p
    assert {"eps", "steps", "seed", "starts", "shape"} <= content["settings"].keys()
    assert content["settings"]["shape"] == [1, 4, 5]
    assert content["versions"].keys() == {"memzoo", "torch"}
    assert sum(one["starts"] for one in content["attractors"]["found"]) == 40
    assert {one["image"]["group"] for one in content["attractors"]["found"]} == {"members"}


def test_the_page_needs_nothing_else(found):
    page = Pictures(found.html)
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


def test_many_pictures_are_capped_and_counted(monkeypatch, found):
    monkeypatch.setattr("memzoo.auditing.page.SHOWN", 1)
    out = int(found.members.recovered.sum())
    assert len(re.findall(r"<figcaption>training image \d+: step", found.html)) == 1
    assert f"1 of {out} are shown" in found.html
    assert f"1 of {len(found.attractors.found)} are shown" in found.html


def test_names_are_escaped():
    def f(x):
        return x / 2

    f.__name__ = "<script>alert(1)</script>"
    page = memzoo.audit(f, starts=STARTS).html
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_without_members_the_page_claims_nothing_of_them():
    found = memzoo.audit(stores, starts=STARTS)
    assert json.loads(found.json)["members"] is None
    assert "training image " not in found.html
    assert "Where the starts end" in found.html
    assert "only a comparison with the training set" in str(found)


def test_printed_it_is_short_and_begins_with_the_verdict(found):
    lines = str(found).splitlines()
    assert lines[0] == found.verdict
    assert len(lines) < 25
    assert "20 %" not in lines[0]
    assert any(line.startswith("controls") and "0 of 4, 0 % (0 to 49 %)" in line for line in lines)  # Wilson


# Pictures -----------------------------------------------------------------------------------------------------------


def shown(point, low=0.0, high=1.0):
    return np.asarray(Image.open(BytesIO(png(point, low, high))))


def test_pixels_are_the_values_clipped():
    assert shown(torch.tensor([[[0.0, 0.2], [1.0, 7.0]]])).tolist() == [[0, 51], [255, 255]]
    assert shown(torch.tensor([[-1.0, 1.0]]), -1.0, 1.0).tolist() == [[0, 255]]
    assert shown(torch.tensor([[torch.nan]])).tolist() == [[0]]


def test_shapes():
    assert shown(torch.rand(3, 4, 5)).shape == (4, 5, 3)
    assert shown(torch.rand(4, 5)).shape == (4, 5)
    assert shown(torch.rand(7, 4, 5)).shape == (4, 5)
    assert shown(torch.rand(6)).shape == (1, 6)


def test_the_range_is_that_of_pixels_or_of_the_values():
    assert value_range(torch.tensor([[0.2, 0.3]])) == (0, 1)
    assert value_range(torch.tensor([[-2.0, 3.0, torch.nan]])) == (-2, 3)
    assert value_range(torch.tensor([[5.0, 5.0]])) == (5, 6)
    assert value_range(torch.tensor([[torch.nan]])) == (0, 1)


def test_the_curve_ends_at_the_share_that_came_out():
    svg = recovery_svg([("members", "#000", "", torch.tensor([0, 3, -1, -1]))], 10)
    points = [tuple(map(float, point.split(","))) for point in re.search(r'polyline points="([^"]+)', svg)[1].split()]
    zero, half = (
        next(float(y) for y, share in re.findall(r'y="([\d.]+)" text-anchor="end">(\d+) %', svg) if share == s) - 4
        for s in ("0", "50")
    )
    assert points[0][1] == pytest.approx(zero, abs=0.11)
    assert points[-1][1] == pytest.approx(half, abs=0.11)
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in pairwise(points))
