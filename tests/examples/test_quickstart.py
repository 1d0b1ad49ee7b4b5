"""examples/quickstart.py: recommendations, and a saved recommender, from nothing."""

from __future__ import annotations

import pytest
import torch

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from tests.support.examples import load_example


@pytest.fixture(scope="module")
def quickstart():
    return load_example("quickstart")


def run(quickstart, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["quickstart.py", *arguments])
    quickstart.main()


def recommended(output: str) -> list[str]:
    """Titles and brands of the lines behind the last heading."""
    lines = output.split("Recommended")[1].splitlines()[1:]
    return [line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")]


def test_recommends_what_is_not_in_the_history(quickstart, monkeypatch, capsys):
    run(quickstart, monkeypatch, "--top_k", "100")
    names = [f"{item['title']} ({item['brand']})" for item in quickstart.CATALOG if item not in quickstart.HISTORY]
    assert sorted(recommended(capsys.readouterr().out)) == sorted(names)


def test_the_saved_recommender_gives_the_same(quickstart, monkeypatch, capsys, tmp_path):
    run(quickstart, monkeypatch, "--output_dir", str(tmp_path / "shop"))
    output = capsys.readouterr().out
    assert "random weights" in output
    assert "Saved." in output
    model = RecformerForSeqRec.from_pretrained(tmp_path / "shop").eval()
    tokenizer = RecformerTokenizer.from_pretrained(tmp_path / "shop")
    assert model.item_embeddings.shape == (len(quickstart.CATALOG), 128)
    torch.testing.assert_close(model.item_embeddings, model.encode_items(quickstart.CATALOG, tokenizer))
    run(quickstart, monkeypatch, "--model", str(tmp_path / "shop"))
    again = capsys.readouterr().out
    assert "random weights" not in again
    assert recommended(again) == recommended(output.split("Saved.")[0])
