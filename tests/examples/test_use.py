"""examples/encode_items.py and examples/recommend.py, and the encoding of a catalogue in blocks behind the former."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.recommending.encode_catalog import BLOCKS_FOLDER, encode_catalog, encoder_fingerprint
from tests.support.faults import run_killed
from tests.support.models import enliven, small_config
from tests.support.processes import run_processes

EXAMPLES = Path(__file__).parents[2] / "examples"
CATALOG = load_demo_domain("kitchen", num_users=5, num_items=60).catalog


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encode_items():
    return load_script("encode_items")


@pytest.fixture(scope="module")
def recommend():
    return load_script("recommend")


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=320)


@pytest.fixture(scope="module")
def model(tokenizer) -> RecformerForSeqRec:
    return enliven(RecformerForSeqRec(small_config(num_hidden_layers=2, vocab_size=len(tokenizer)))).eval()


@pytest.fixture(scope="module")
def folders(model, tokenizer, tmp_path_factory) -> Path:
    """`encoder`, a checkpoint without items; `shop`, one with the catalogue."""
    folder = tmp_path_factory.mktemp("examples")
    for name, saved in (("encoder", model), ("shop", model.with_catalog(CATALOG, tokenizer))):
        saved.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def assert_close(ours, theirs):
    ours, theirs = (F.normalize(torch.as_tensor(np.asarray(vectors)), dim=1) for vectors in (ours, theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


class TestEncodeCatalog:
    def test_is_encode_items(self, model, tokenizer, tmp_path):
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=17)
        assert_close(np.load(path), model.encode_items(CATALOG, tokenizer))
        assert ItemCatalog.from_pretrained(tmp_path) == CATALOG
        assert {file.name for file in tmp_path.iterdir()} == {
            "item_embeddings.npy", "item_embeddings.json", "item_catalog.arrow",
        }  # fmt: skip

    def test_goes_on_where_it_was_killed(self, model, tokenizer, tmp_path, monkeypatch):
        def work():
            import os

            calls, original = [], RecformerForSeqRec.encode_items

            def encode(self, *args, **kwargs):
                calls.append(1)
                if len(calls) == 3:
                    os._exit(9)
                return original(self, *args, **kwargs)

            RecformerForSeqRec.encode_items = encode
            torch.set_num_threads(1)  # a forked process has none of its parent's
            encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=10, progress=False)

        run_killed(work)
        assert len(list((tmp_path / BLOCKS_FOLDER).glob("[0-9]*.npy"))) == 2
        assert not (tmp_path / "item_embeddings.npy").exists()
        encoded = []
        original = RecformerForSeqRec.encode_items

        def counting(self, items, *args, **kwargs):
            encoded.append(len(items))
            return original(self, items, *args, **kwargs)

        monkeypatch.setattr(RecformerForSeqRec, "encode_items", counting)
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path, block_size=10)
        assert encoded == [10] * 4
        monkeypatch.undo()
        assert_close(np.load(path), model.encode_items(CATALOG, tokenizer))

    def test_a_finished_one_is_left_alone(self, model, tokenizer, tmp_path, monkeypatch):
        path = encode_catalog(model, tokenizer, CATALOG, tmp_path)
        monkeypatch.setattr(RecformerForSeqRec, "encode_items", lambda *_, **__: pytest.fail("encoded again"))
        assert encode_catalog(model, tokenizer, CATALOG, tmp_path) == path

    def test_refuses_a_folder_of_something_else(self, model, tokenizer, tmp_path):
        encode_catalog(model, tokenizer, CATALOG, tmp_path)
        other = enliven(RecformerForSeqRec(model.config), seed=1)
        with pytest.raises(ValueError, match=r"made with another encoder.*another folder"):
            encode_catalog(other, tokenizer, CATALOG, tmp_path)
        with pytest.raises(ValueError, match="made with another num_items, catalog"):
            encode_catalog(model, tokenizer, CATALOG.select(range(9)), tmp_path)
        with pytest.raises(ValueError, match="There must be items"):
            encode_catalog(model, tokenizer, CATALOG.select([]), tmp_path)

    def test_fingerprint_is_the_encoders(self, model, tokenizer, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert encoder_fingerprint(loaded) == encoder_fingerprint(model)
        assert encoder_fingerprint(model.with_catalog(CATALOG, tokenizer)) == encoder_fingerprint(model)
        assert encoder_fingerprint(loaded.to(torch.bfloat16)) != encoder_fingerprint(model)


class TestEncodeItems:
    def test_to_files_and_a_recommender(self, encode_items, folders, model, tokenizer, tmp_path, capsys):
        import pyarrow.parquet as pq

        items = tmp_path / "items.jsonl"
        items.write_text(
            "\n".join(json.dumps({"sku": i, **item}) for i, item in zip(CATALOG.ids, CATALOG, strict=True))
        )
        arguments = ["--model", str(folders / "encoder"), "--catalog", str(items), "--id_column", "sku"]
        arguments += ["--output_dir", str(tmp_path / "out"), "--parquet", "--save_model", str(tmp_path / "shop")]
        encode_items.main(arguments)
        assert f"60 vectors of width 64 in {tmp_path / 'out' / 'item_embeddings.npy'}" in capsys.readouterr().out
        vectors = np.load(tmp_path / "out" / "item_embeddings.npy")
        assert_close(vectors, model.encode_items(CATALOG, tokenizer))
        table = pq.read_table(tmp_path / "out" / "item_embeddings.parquet")
        assert table["item_id"].to_pylist() == list(CATALOG.ids)
        saved = RecformerForSeqRec.from_pretrained(tmp_path / "shop")
        assert saved.catalog == CATALOG
        assert np.array_equal(saved.item_embeddings.numpy(), vectors)

    @pytest.mark.parametrize("kind", ["folder", "demo", "csv"])
    def test_sources(self, encode_items, folders, tmp_path, kind):
        source = {"folder": str(folders / "shop"), "demo": "demo:kitchen", "csv": str(tmp_path / "items.csv")}[kind]
        (tmp_path / "items.csv").write_text("item_id,title\na,mug\nb,tent\n")
        encode_items.main(
            ["--model", str(folders / "encoder"), "--catalog", source, "--output_dir", str(tmp_path / "o")]
        )
        expected = {"folder": 60, "demo": len(load_demo_domain("kitchen").catalog), "csv": 2}[kind]
        assert len(np.load(tmp_path / "o" / "item_embeddings.npy")) == expected

    def test_a_line_for_what_is_wrong(self, encode_items, folders, tmp_path):
        with pytest.raises(SystemExit, match=r"encode_items\.py: .*no domain 'cars'"):
            encode_items.main(
                ["--model", str(folders / "encoder"), "--catalog", "demo:cars", "--output_dir", str(tmp_path)]
            )

    def test_two_processes_write_what_one_does(self, folders, model, tokenizer, tmp_path):
        code = (
            "import runpy, sys; sys.argv[0] = 'encode_items.py'; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
        )
        arguments = ["--model", str(folders / "encoder"), "--catalog", str(folders / "shop"), "--block_size", "7"]
        run_processes(code, 2, str(EXAMPLES / "encode_items.py"), *arguments, "--output_dir", str(tmp_path))
        assert_close(np.load(tmp_path / "item_embeddings.npy"), model.encode_items(CATALOG, tokenizer))
        assert not (tmp_path / BLOCKS_FOLDER).exists()


class TestRecommend:
    def lines(self, *histories) -> str:
        return "".join((history if isinstance(history, str) else json.dumps(history)) + "\n" for history in histories)

    def test_from_file_to_file(self, recommend, folders, model, tokenizer, tmp_path):
        first, second = CATALOG.ids[0], CATALOG.ids[1]
        (tmp_path / "in.jsonl").write_text(self.lines([first, CATALOG[1]], {"user": "u2", "history": [second]}, ""))
        (tmp_path / "out-of-stock.txt").write_text(f"{CATALOG.ids[5]}\n")
        files = {"histories": "in.jsonl", "output": "out.jsonl", "exclude": "out-of-stock.txt"}
        named = [word for name, file in files.items() for word in (f"--{name}", str(tmp_path / file))]
        recommend.main(["--model", str(folders / "shop"), *named, "--top_k", "4", "--device", "cpu"])
        answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        shop = model.with_catalog(CATALOG, tokenizer)
        expected = shop.recommend([[first, second], [second]], tokenizer, 4, exclude=[CATALOG.ids[5]])
        assert [[item["item_id"] for item in answer["recommendations"]] for answer in answers] == expected.item_ids
        assert answers[0]["history"] == [first, CATALOG[1]]
        assert answers[1]["user"] == "u2"

    def test_standard_input_and_output(self, recommend, folders, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO(self.lines([CATALOG.ids[3]])))
        recommend.main(["--model", str(folders / "shop"), "--top_k", "1", "--no_attributes", "--device", "cpu"])
        (item,) = json.loads(capsys.readouterr().out)["recommendations"]
        assert set(item) == {"item_id", "score"}

    def test_bad_lines(self, recommend, folders, monkeypatch, capsys):
        good = [CATALOG.ids[3]]
        text = self.lines(good, ["nope"], "{", {"items": good}, good)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(SystemExit, match=r"recommend\.py: line 2: .*No item 'nope'"):
            recommend.main(["--model", str(folders / "shop"), "--device", "cpu"])
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        recommend.main(["--model", str(folders / "shop"), "--on_error", "report", "--device", "cpu"])
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert ["recommendations" in answer for answer in answers] == [True, False, False, False, True]
        assert [answer["line"] for answer in answers[1:4]] == [2, 3, 4]
        assert "expected a list of items" in answers[3]["error"]
        assert "no JSON: " in answers[2]["error"]

    def test_damaged_text_loses_no_other_line(self, recommend, folders, tmp_path):
        good = json.dumps([CATALOG.ids[3]]).encode()
        half, bytes_, deep = b'[{"title": "kettle \\ud800"}]', b'[{"title": "kettle \xff"}]', b"[" * 100_000
        (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, half, bytes_, deep, good]))
        files = ["--histories", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
        recommend.main(["--model", str(folders / "shop"), *files, "--on_error", "report", "--device", "cpu"])
        answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert ["recommendations" in answer for answer in answers] == [True, True, True, False, True]
        assert answers[1]["history"] == [{"title": "kettle \ud800"}]
        assert answers[3]["line"] == 4

    def test_a_folder_that_is_not_there(self, recommend, encode_items, tmp_path):
        missing = str(tmp_path / "nowhere")
        with pytest.raises(SystemExit, match=r"recommend\.py: --model .*nowhere is no folder here"):
            recommend.main(["--model", missing, "--device", "cpu"])
        with pytest.raises(SystemExit, match=r"encode_items\.py: --model .*nowhere is no folder here"):
            encode_items.main(["--model", missing, "--catalog", "demo:kitchen", "--output_dir", str(tmp_path)])
