import pytest
from jinja2 import UndefinedError

from memzoo._templates import read_templates


@pytest.fixture
def templates(tmp_path):
    for name in ("page.html.jinja2", "card.md.jinja2"):
        (tmp_path / name).write_text("{% if text %}\n{{ text }}\n{% endif %}\n")
    return read_templates(tmp_path)


def test_text_is_shown_in_html_and_stays_as_it_is_elsewhere(templates):
    text = "a < b & 'c'"
    assert templates.get_template("page.html.jinja2").render(text=text) == "a &lt; b &amp; &#39;c&#39;\n"
    assert templates.get_template("card.md.jinja2").render(text=text) == f"{text}\n"


def test_a_value_that_is_not_given_is_an_error(templates):
    with pytest.raises(UndefinedError, match=r"'text' is undefined"):
        templates.get_template("card.md.jinja2").render()
