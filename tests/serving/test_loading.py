from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import weakref
from pathlib import Path

import pytest
import torch

from recformer_hf import RecformerForSeqRec
from recformer_hf.serving.loading import Recommender, folder_signature, load_recommender, prepared
from tests.support.neural_baselines import with_items
from tests.support.serving import IDS, copy_shop, saved_shop
from tests.support.shops import CATALOG


@pytest.fixture(scope="module")
def shop():
    return load_recommender(saved_shop() / "shop")


def test_a_loaded_model_recommends(shop):
    assert shop.reads_text
    assert shop.catalog == CATALOG
    lengths = [len(shop.tokenizer.encode_items([item]).input_ids) for item in CATALOG]
    assert shop.tokens_per_item == pytest.approx(sum(lengths) / len(lengths))


def test_a_model_that_was_replaced_is_gone_without_the_collector():
    """`serve` lets the collector pass over what is loaded at the start, so nothing of it may be in a circle."""
    found = load_recommender(saved_shop() / "shop")
    found.model.recommend([[{"title": "hammer"}, IDS[0]]], found.tokenizer, 3)
    parts = [weakref.ref(part) for part in (found.model, found.model.get_input_embeddings().weight, found.catalog)]
    gc.collect()
    gc.disable()
    try:
        del found
        assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_vectors_and_catalogue_stay_in_their_files(tmp_path):
    folder = copy_shop(tmp_path)
    expected = RecformerForSeqRec.from_pretrained(folder).item_embeddings.clone()
    recommender = load_recommender(folder)
    assert torch.equal(recommender.model.item_embeddings, expected)
    start = recommender.model.item_embeddings.data_ptr()
    ranges = [line.split()[0] for line in mapped_files().splitlines() if str(folder / "model.safetensors") in line]
    assert any(int(a, 16) <= start < int(b, 16) for a, b in (each.split("-") for each in ranges))
    assert str(folder / "item_catalog.arrow") in mapped_files()
    # A change stays in this process, and a model that is saved over the file does not reach it.
    recommender.model.item_embeddings.data[0] = 7.0
    assert torch.equal(RecformerForSeqRec.from_pretrained(folder).item_embeddings, expected)
    other = RecformerForSeqRec.from_pretrained(folder)
    other.item_embeddings.data.fill_(3.0)
    other.save_pretrained(folder)
    assert torch.equal(recommender.model.item_embeddings[1:], expected[1:])


def test_tokens_are_estimated(shop):
    per_item = int(shop.tokens_per_item)
    assert shop.tokens_of([[IDS[0]] * 3]) == 1 + 3 * per_item
    assert shop.tokens_of([[IDS[0]] * 1000]) == shop.model.config.max_token_num
    assert shop.tokens_of([[{"title": "x" * 40}], [{"title": 3}]]) == (1 + 1 + 45 // 4) + (1 + 1 + 16 // 4)
    assert shop.tokens_of([[{"title": "x" * 10**6}]]) <= 1 + 3 * 32


def test_a_checkpoints_own_code_is_never_run(tmp_path):
    model = RecformerForSeqRec.from_pretrained(saved_shop() / "shop")
    model.save_pretrained(tmp_path / "shop", with_code=True)
    for path in (saved_shop() / "shop").glob("tokenizer*"):
        shutil.copy(path, tmp_path / "shop")
    marker = tmp_path / "ran"
    code = list((tmp_path / "shop").glob("*.py"))
    assert code
    for path in code:
        path.write_text(f"open({str(marker)!r}, 'w').close()\n")
    assert "auto_map" in json.loads((tmp_path / "shop" / "config.json").read_text())
    assert load_recommender(tmp_path / "shop").catalog == CATALOG
    assert not marker.exists()


def test_pickled_weights_are_refused(tmp_path):
    folder = copy_shop(tmp_path)
    model = RecformerForSeqRec.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_recommender(folder)


def test_a_configuration_cannot_name_pickled_weights(tmp_path):
    folder = copy_shop(tmp_path)
    torch.save(RecformerForSeqRec.from_pretrained(folder).state_dict(), folder / "adapter_model.bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "adapter_model.bin"}))
    with pytest.raises(ValueError, match=r"adapter_model\.bin.*safetensors"):
        load_recommender(folder)


def test_what_cannot_be_served_is_said(tmp_path):
    with pytest.raises(ValueError, match="no items"):
        load_recommender(saved_shop() / "encoder")
    folder = copy_shop(tmp_path)
    (folder / "item_catalog.arrow").unlink()
    with pytest.raises(ValueError, match=r"no item_catalog.arrow"):
        load_recommender(folder)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"model_type 'bert'.*recformer, gru4rec"):
        load_recommender(tmp_path / "bert")


def test_a_checkpoint_in_half_precision_stays_so(tmp_path):
    folder = copy_shop(tmp_path)
    RecformerForSeqRec.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    recommender = load_recommender(folder)
    assert recommender.model.dtype == torch.bfloat16
    assert recommender.model.item_embeddings.dtype == torch.float32
    assert load_recommender(folder, dtype="float32").model.dtype == torch.float32


def test_a_baseline_is_loaded(tmp_path):
    with_items("sasrec").save_pretrained(tmp_path)
    recommender = load_recommender(tmp_path)
    assert type(recommender.model).__name__ == "SASRec"
    assert not recommender.reads_text
    assert recommender.tokens_of([["a", "b"], ["c"]]) == 3


def test_a_signature_changes_with_any_file(tmp_path):
    folder = copy_shop(tmp_path)
    first = folder_signature(folder)
    assert first == folder_signature(folder)
    os.utime(folder / "config.json", (1, 1))
    second = folder_signature(folder)
    assert first != second
    (folder / ".hidden.partial").write_text("a file that is still being written")
    assert folder_signature(folder) == second
    assert folder_signature("someone/a-model-on-the-hub") is None


def test_preparing_runs_the_model(shop):
    again = prepared(Recommender("shop", shop.model.train(), shop.tokenizer))
    assert not again.model.training
    assert again.tokens_per_item == shop.tokens_per_item
