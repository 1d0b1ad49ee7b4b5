"""The command line: what it writes, and that a failure leaves nothing behind."""

from __future__ import annotations

import runpy
import sys

import pytest
import torch

from recformer_hf import RecformerForPretraining, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.conversion import from_text_encoder
from recformer_hf.conversion.__main__ import main
from tests.support.conversion import assert_equal_weights, make_source, replication_weights, write_weights
from tests.support.models import FIXTURES, GOLDEN


@pytest.fixture(name="replication_weights", scope="module")
def weights_of_the_replication() -> dict[str, torch.Tensor]:
    return replication_weights()


class TestCommand:
    def test_text_encoder(self, tmp_path, monkeypatch, capsys):
        make_source(tmp_path / "source", "bert")
        arguments = ["text-encoder", str(tmp_path / "source"), str(tmp_path / "made"), "--max-token-num", "64"]
        monkeypatch.setattr(sys, "argv", ["conversion", *arguments])
        monkeypatch.delitem(sys.modules, "recformer_hf.conversion.__main__")
        runpy.run_module("recformer_hf.conversion", run_name="__main__")  # as `python -m` does
        assert f'RecformerForPretraining.from_pretrained("{tmp_path / "made"}")' in capsys.readouterr().out
        made = RecformerForPretraining.from_pretrained(tmp_path / "made")
        assert_equal_weights(made, from_text_encoder(tmp_path / "source", max_token_num=64)[0])
        assert RecformerTokenizer.from_pretrained(tmp_path / "made").max_token_num == 64
        assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "source"]  # nothing temporary is left

    def test_replication(self, replication_weights, tmp_path, capsys):
        path, made = write_weights(tmp_path, replication_weights), tmp_path / "deep" / "made"
        main(["replication", str(path), str(made), "--tokenizer", str(FIXTURES / "tokenizer"), "--head", "seqrec"])
        assert "a RecformerForSeqRec of 3 layers of width 64" in capsys.readouterr().out
        RecformerForSeqRec.from_pretrained(made)
        assert RecformerTokenizer.from_pretrained(made).max_token_num == 128

    def test_replication_without_a_tokenizer(self, replication_weights, tmp_path, capsys):
        path, made = write_weights(tmp_path, replication_weights, config=False), tmp_path / "made"
        made.mkdir()  # empty: may be written to
        main(["replication", str(path), str(made), "--config", str(GOLDEN), "--attention-window", "16"])
        assert "No tokenizer was saved" in capsys.readouterr().out
        assert RecformerForPretraining.from_pretrained(made).config.attention_window == 16

    def test_a_full_folder_is_left_alone(self, replication_weights, tmp_path):
        path = write_weights(tmp_path, replication_weights)
        before = sorted(file.name for file in tmp_path.iterdir())
        for source in (path, tmp_path / "not even read"):
            with pytest.raises(SystemExit, match="not an empty folder; nothing was written"):
                main(["replication", str(source), str(tmp_path)])
        assert sorted(file.name for file in tmp_path.iterdir()) == before

    def test_a_failure_leaves_nothing_behind(self, replication_weights, tmp_path, monkeypatch):
        path = write_weights(tmp_path, replication_weights)

        def full_disk(*args, **kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr(RecformerTokenizer, "save_pretrained", full_disk)
        with pytest.raises(SystemExit, match="error: No space left on device"):
            main(["replication", str(path), str(tmp_path / "made"), "--tokenizer", str(FIXTURES / "tokenizer")])
        assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "pytorch_model.bin"]

    def test_errors_are_one_line(self, tmp_path):
        with pytest.raises(SystemExit, match=r"error: No weights file at .*nowhere\.bin"):
            main(["replication", str(tmp_path / "nowhere.bin"), str(tmp_path / "made")])
        assert not (tmp_path / "made").exists()
