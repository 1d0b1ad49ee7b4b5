"""recformer explain: what it prints and writes, against the library's explanation."""

from __future__ import annotations

import json

import pytest

from recformer_hf.explaining import explain
from tests.support.shops import CATALOG

NEW = {"title": "Copper Wok Blue"}


@pytest.fixture(scope="module")
def expected(model, tokenizer):
    return explain(model.with_catalog(CATALOG, tokenizer), tokenizer, [CATALOG.ids[0], NEW], CATALOG.ids[3])


@pytest.fixture
def command(folders):
    return ["--model", str(folders / "shop"), "--history", CATALOG.ids[0], json.dumps(NEW)]


def test_a_table(script, command, expected, capsys):
    script.main([*command, "--item", CATALOG.ids[3]])
    assert capsys.readouterr().out.strip() == str(expected).strip()


def test_json_and_html(script, command, expected, capsys, tmp_path):
    page = tmp_path / "why.html"
    script.main([*command, "--item", CATALOG.ids[3], "--json", "--quiet", "--html", str(page)])
    found = json.loads(capsys.readouterr().out)
    assert found["item_id"] == CATALOG.ids[3]
    assert found["score"] == pytest.approx(expected.score, abs=1e-5)
    assert found["items"][1]["attributes"][0]["words"]
    assert page.read_text().startswith("<!doctype html>")
    assert CATALOG[3]["title"] in page.read_text()


def test_without_an_item_the_first_recommendation_is_explained(script, command, model, tokenizer, capsys):
    shop = model.with_catalog(CATALOG, tokenizer)
    for more, exclude in (([], True), (["--keep_history"], False)):
        script.main([*command, "--json", "--no_attributes", "--no_words", *more])
        found = json.loads(capsys.readouterr().out)
        best = shop.recommend([[CATALOG.ids[0], NEW]], tokenizer, 1, exclude_history=exclude)
        assert found["item_id"] == best.item_ids[0][0]
        assert found["items"][0]["attributes"][0]["effect"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--item", "kitchen-000"], "recformer explain: .*kitchen-000"),
        (["--item", "{title}"], "recformer explain: --item: {title} begins like a JSON object, but is none"),
        (["--item", '{"title": ""}'], "recformer explain: "),
        (["--html", "/nowhere/at/all/why.html"], "recformer explain: "),
    ],
)
def test_errors_are_one_line(script, command, more, message, tmp_path):
    if more[0] == "--html":  # a file where a folder has to be
        (tmp_path / "file").touch()
        more = ["--html", str(tmp_path / "file" / "why.html")]
    with pytest.raises(SystemExit, match=message) as caught:
        script.main([*command, *more])
    assert "\n" not in str(caught.value)
