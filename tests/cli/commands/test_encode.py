"""recformer encode: from a catalogue of any kind to vectors on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recformer_hf import RecformerForSeqRec
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.recommending.encode_catalog import BLOCKS_FOLDER
from tests.support.shops import CATALOG, assert_same_directions
from tests.support.training_processes import run_code


class TestEncodeItems:
    def test_to_files_and_a_recommender(self, script, folders, model, tokenizer, tmp_path, capsys):
        import pyarrow.parquet as pq

        items = tmp_path / "items.jsonl"
        items.write_text(
            "\n".join(json.dumps({"sku": i, **item}) for i, item in zip(CATALOG.ids, CATALOG, strict=True))
        )
        arguments = ["--model", str(folders / "encoder"), "--catalog", str(items), "--id_column", "sku"]
        arguments += ["--output_dir", str(tmp_path / "out"), "--parquet", "--save_model", str(tmp_path / "shop")]
        script.main(arguments)
        assert f"60 vectors of width 64 in {tmp_path / 'out' / 'item_embeddings.npy'}" in capsys.readouterr().out
        vectors = np.load(tmp_path / "out" / "item_embeddings.npy")
        assert_same_directions(vectors, model.encode_items(CATALOG, tokenizer))
        table = pq.read_table(tmp_path / "out" / "item_embeddings.parquet")
        assert table["item_id"].to_pylist() == list(CATALOG.ids)
        saved = RecformerForSeqRec.from_pretrained(tmp_path / "shop")
        assert saved.catalog == CATALOG
        assert np.array_equal(saved.item_embeddings.numpy(), vectors)

    @pytest.mark.parametrize("kind", ["folder", "demo", "csv"])
    def test_sources(self, script, folders, tmp_path, kind):
        source = {"folder": str(folders / "shop"), "demo": "demo:kitchen", "csv": str(tmp_path / "items.csv")}[kind]
        (tmp_path / "items.csv").write_text("item_id,title\na,mug\nb,tent\n")
        script.main(["--model", str(folders / "encoder"), "--catalog", source, "--output_dir", str(tmp_path / "o")])
        expected = {"folder": 60, "demo": len(load_demo_domain("kitchen").catalog), "csv": 2}[kind]
        assert len(np.load(tmp_path / "o" / "item_embeddings.npy")) == expected

    def test_a_line_for_what_is_wrong(self, script, folders, tmp_path):
        with pytest.raises(SystemExit, match=r"recformer encode: .*no domain 'cars'"):
            script.main(["--model", str(folders / "encoder"), "--catalog", "demo:cars", "--output_dir", str(tmp_path)])

    def test_two_processes_write_what_one_does(self, folders, model, tokenizer, tmp_path):
        command = ["recformer", "encode", "--model", str(folders / "encoder"), "--catalog", str(folders / "shop")]
        command += ["--block_size", "7", "--output_dir", str(tmp_path)]
        run_code(
            f"import runpy, sys; sys.argv = {command}; runpy.run_module('recformer_hf.cli', run_name='__main__')", 2
        )
        assert_same_directions(np.load(tmp_path / "item_embeddings.npy"), model.encode_items(CATALOG, tokenizer))
        assert not (tmp_path / BLOCKS_FOLDER).exists()

    def test_a_folder_that_does_not_exist(self, script, tmp_path):
        missing = str(tmp_path / "nowhere")
        with pytest.raises(SystemExit, match=r"recformer encode: --model .*nowhere is neither a local folder nor a"):
            script.main(["--model", missing, "--catalog", "demo:kitchen", "--output_dir", str(tmp_path)])
