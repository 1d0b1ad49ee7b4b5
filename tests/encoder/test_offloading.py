"""Models whose weights lie on disk or in the memory of the host give the results of any other."""

from __future__ import annotations

import accelerate
import pytest
import torch
import transformers
from accelerate import cpu_offload, init_empty_weights
from packaging.version import Version

from recformer_hf.encoder.offloading import execution_device, in_memory, keep_in_memory
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.heads import trained
from tests.support.models import assert_parity, enliven, random_batch, small_config

ITEMS = {f"B{row}": {"title": f"item {row}", "brand": "acme"} for row in range(7)}


@pytest.fixture(scope="module")
def tokenizer():
    return RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=300)


@pytest.fixture(scope="module")
def shop(tokenizer):
    return enliven(RecformerForSeqRec(small_config())).eval().with_catalog(ITEMS, tokenizer)


@pytest.fixture(scope="module")
def folder(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    shop.save_pretrained(folder)
    return folder


wholly_on_disk = pytest.mark.skipif(
    Version(accelerate.__version__) < Version("1.15") or Version(transformers.__version__) < Version("5.23"),
    reason="accelerate before 1.15 or transformers before 5.23 load a model that is wholly on disk without its weights",
)

MAPS = {
    "everything on disk": {"device_map": {"": "disk"}},
    "the encoder on disk": {"device_map": {"recformer": "disk", "item_embeddings": "cpu"}},
    "the items on disk": {"device_map": {"recformer": "cpu", "item_embeddings": "disk"}},
    "one layer on disk": {
        "device_map": {
            "item_embeddings": "cpu",
            "recformer.embeddings": "cpu",
            **{f"recformer.encoder.layer.{layer}": "disk" if layer == 1 else "cpu" for layer in range(3)},
        }
    },
    "what fits": {"device_map": "auto", "max_memory": {"cpu": 100_000}},
    "nothing fits": {"device_map": "auto", "max_memory": {"cpu": 100}},
}
WHOLLY = ("everything on disk", "what fits", "nothing fits")
"""The maps that leave nothing of the model in memory."""


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")  # accelerate, about a lone weight
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=wholly_on_disk if name in WHOLLY else ()) for name in MAPS],
)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_same_results(shop, folder, tokenizer, tmp_path, name, implementation):
    model = RecformerForSeqRec.from_pretrained(
        folder, offload_folder=tmp_path / "weights", attn_implementation=implementation, **MAPS[name]
    )
    histories = [["B0", {"title": "item 3"}], ["B6"]]
    batch = random_batch([30, 6], shop.config)
    assert model.device.type == "cpu"
    assert not model.item_embeddings.is_meta
    with torch.no_grad():
        assert_parity(model(**batch).scores, shop(**batch).scores)
        assert_parity(model(**batch).scores, shop(**batch).scores)  # the weights are loaded again
    found, expected = (each.recommend(histories, tokenizer, top_k=3) for each in (model, shop))
    assert found.item_ids == expected.item_ids
    assert_parity(model.encode_items(ITEMS.values(), tokenizer), shop.item_embeddings)
    model.save_pretrained(tmp_path / "again")
    again = RecformerForSeqRec.from_pretrained(tmp_path / "again")
    assert all(torch.equal(value, shop.state_dict()[name]) for name, value in again.state_dict().items())
    other = model.with_catalog(ITEMS, tokenizer)
    assert_parity(other.item_embeddings, shop.item_embeddings)
    other.save_pretrained(tmp_path / "other")


@pytest.mark.parametrize("parts", ["flat", "narrow"])
@pytest.mark.parametrize(
    "device_map",
    [
        pytest.param({"": "disk"}, marks=wholly_on_disk),
        {"recformer": "cpu", "item_embeddings": "cpu", "item_residuals": "disk", "scoring_head": "disk"},
    ],
)
def test_a_recommenders_head_on_disk(tokenizer, tmp_path, parts, device_map):
    model = trained(ITEMS, tokenizer, parts)
    model.save_pretrained(tmp_path)
    loaded = RecformerForSeqRec.from_pretrained(tmp_path, device_map=device_map, offload_folder=tmp_path / "weights")
    histories = [list(ITEMS)[:2], [ITEMS[list(ITEMS)[2]]]]
    found, expected = (each.recommend(histories, tokenizer, 3, exclude_history=False) for each in (loaded, model))
    assert found.item_ids == expected.item_ids
    assert_parity(found.scores, expected.scores)


@wholly_on_disk
def test_other_heads_on_disk(folder, shop, tmp_path):
    batch = random_batch([9, 7], shop.config)
    with torch.no_grad():
        model = RecformerModel.from_pretrained(folder, device_map={"": "disk"}, offload_folder=tmp_path / "a")
        assert_parity(model(**batch).pooler_output, shop.recformer(**batch).pooler_output)
        pretraining = enliven(RecformerForPretraining(shop.config)).eval()
        pretraining.save_pretrained(tmp_path / "b")
        offloaded = RecformerForPretraining.from_pretrained(
            tmp_path / "b", device_map={"": "disk"}, offload_folder=tmp_path / "c"
        )
        masked = {
            "mlm_input_ids": batch["input_ids"],
            "mlm_labels": torch.where(torch.arange(9) == 3, batch["input_ids"], -100),
        }
        assert_parity(offloaded(**batch, **masked).loss, pretraining(**batch, **masked).loss)


def test_item_vectors_that_were_moved_away_later_are_set_in_memory(shop, tokenizer):
    model = shop.with_catalog(ITEMS, tokenizer)
    model.recformer = RecformerModel(shop.config)
    model.recformer.load_state_dict(shop.recformer.state_dict())
    cpu_offload(model.eval(), execution_device=torch.device("cpu"))
    assert model.item_embeddings.is_meta
    vectors = model.encode_items(ITEMS.values(), tokenizer)
    assert_parity(vectors, shop.item_embeddings)
    with pytest.raises(ValueError, match="on the meta device, so there are no numbers to save"):
        model.save_pretrained("never written")


def test_weights_without_numbers_say_so():
    with init_empty_weights():
        model = RecformerModel(small_config())
    assert execution_device(model) is None
    assert model.device.type == "meta"
    with pytest.raises(RuntimeError, match=r"on the meta device: its weights have no numbers.*from_pretrained"):
        model(**random_batch([6], model.config))


def test_a_weight_in_memory_stays_the_same_object(shop):
    weight = shop.item_embeddings
    keep_in_memory(shop)
    assert shop.item_embeddings is weight


def test_only_a_map_that_names_the_weight_changes():
    assert in_memory({"a": "disk", "b": "disk"}, "a") == {"a": "cpu", "b": "disk"}
    assert in_memory({"a.x": "disk", "ab": "disk"}, "a") == {"a.x": "cpu", "ab": "disk"}
    assert in_memory({"a": "disk", "b": "disk", "c": 0}, "b", "c", "d") == {"a": "disk", "b": "cpu", "c": 0}
    for device_map in (None, "auto", {"": "disk"}, {"a": 0}):
        assert in_memory(device_map, "a") == device_map


@pytest.mark.parametrize("split", [False, True])
def test_a_head_stays_in_memory(tokenizer, tmp_path, split):
    """Its parts are read outside of a module's forward."""
    model = trained(ITEMS, tokenizer, "narrow")
    model.save_pretrained(tmp_path / "model")
    parts = ["projection", "history_bias", "log_temperature", "history_transformer"]
    names = [f"scoring_head.{part}" for part in parts] if split else ["scoring_head"]
    places = dict.fromkeys(["recformer", "item_embeddings", "item_residuals", *names], "disk")
    loaded = RecformerForSeqRec.from_pretrained(tmp_path / "model", device_map=places, offload_folder=tmp_path)
    found, expected = (each.recommend([["B1", "B2"]], tokenizer, 3) for each in (loaded, model))
    assert found.item_ids == expected.item_ids
    assert_parity(found.scores, expected.scores)
