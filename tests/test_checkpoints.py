"""Saving, loading, pushing: round trips, every saved head into every head, the Auto classes, code on the side."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from recformer_hf import (
    RecformerConfig,
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
    RecformerTokenizer,
)
from tests.support.bare_python import run_without
from tests.support.models import enliven, random_batch, small_config

HEADS = {"model": RecformerModel, "pretraining": RecformerForPretraining, "seqrec": RecformerForSeqRec}
ITEMS = [{"title": f"item {index}", "brand": "acme", "category": "things"} for index in range(7)]


def make(head: str, **overrides) -> torch.nn.Module:
    if head == "seqrec with items":
        model = enliven(RecformerForSeqRec(small_config(num_items=7, **overrides)))
    else:
        model = enliven(HEADS[head](small_config(**overrides)))
    return model.eval()


def encoder_of(model) -> RecformerModel:
    return model if isinstance(model, RecformerModel) else model.recformer


@pytest.fixture
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=300)


@pytest.mark.parametrize("head", [*HEADS, "seqrec with items"])
class TestRoundTrip:
    def test_weights_are_bit_identical(self, head, tmp_path):
        model = make(head)
        model.save_pretrained(tmp_path)
        loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
        ours, theirs = loaded.config.to_dict(), model.config.to_dict()
        assert ours | {"_name_or_path": ""} == theirs | {"_name_or_path": ""}
        batch = random_batch([20, 3], model.config)
        with torch.no_grad():
            ours, theirs = (encoder_of(m.eval())(**batch).last_hidden_state for m in (loaded, model))
        assert torch.equal(ours, theirs)

    def test_only_safetensors_are_written(self, head, tmp_path):
        make(head).save_pretrained(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}

    def test_sharded(self, head, tmp_path):
        model = make(head)
        model.save_pretrained(tmp_path, max_shard_size="100KB")
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
        loaded = type(model).from_pretrained(tmp_path)
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
        if head == "seqrec with items":
            batch = random_batch([20, 3], model.config)
            with torch.no_grad():
                assert torch.equal(loaded.eval()(**batch).scores, model(**batch).scores)

    def test_saved_keys_are_those_of_a_fresh_model(self, head, tmp_path):
        model = make(head)
        model.save_pretrained(tmp_path)
        type(model).from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
        fresh = type(model)(RecformerConfig.from_pretrained(tmp_path)).state_dict().keys()
        tied = {"lm_head.decoder.weight"} if head == "pretraining" else set()
        assert load_file(tmp_path / "again" / "model.safetensors").keys() == fresh - tied


class TestCrossLoading:
    """The declared list: `lm_head.*` and `item_embeddings` come and go, the encoder must be whole."""

    @pytest.mark.parametrize("target", list(HEADS))
    @pytest.mark.parametrize("source", [*HEADS, "seqrec with items"])
    def test_every_cell(self, source, target, tmp_path, caplog):
        saved = make(source)
        saved.save_pretrained(tmp_path)
        with caplog.at_level(logging.WARNING):
            logging.getLogger("transformers").propagate = True
            loaded = HEADS[target].from_pretrained(tmp_path)
        for name, value in encoder_of(loaded).state_dict().items():
            assert torch.equal(value, encoder_of(saved).state_dict()[name]), name
        if target == "pretraining" and source == "pretraining":
            assert torch.equal(loaded.lm_head.dense.weight, saved.lm_head.dense.weight)
        if target == "seqrec":
            expected = 7 if source == "seqrec with items" else 0
            assert loaded.item_embeddings.shape == (expected, 64)
            assert loaded.config.num_items == expected
        if (source, target) == ("seqrec with items", "seqrec"):
            assert torch.equal(loaded.item_embeddings, saved.item_embeddings)
        if target == "pretraining" and source != "pretraining":
            assert "lm_head starts with new weights" in caplog.text
        lost = {"pretraining": "lm_head", "seqrec with items": "item_embeddings"}.get(source)
        if lost and not source.startswith(target):
            assert lost in caplog.text  # what is dropped is logged

    def test_an_encoder_saved_from_a_recommender_becomes_a_recommender_without_items(self, tmp_path, caplog):
        make("seqrec with items").save_pretrained(tmp_path / "1")
        RecformerModel.from_pretrained(tmp_path / "1").save_pretrained(tmp_path / "2")
        logging.getLogger("transformers").propagate = True
        model = RecformerForSeqRec.from_pretrained(tmp_path / "2")
        assert model.config.num_items == len(model.item_embeddings) == 0
        assert "the catalogue is empty now" in caplog.text
        with pytest.raises(ValueError, match="no items to score"):
            model(**random_batch([5], model.config))

    @pytest.mark.parametrize("head", [*HEADS, "seqrec with items"])
    @pytest.mark.parametrize("damage", ["missing", "unexpected"])
    def test_a_wrong_encoder_raises_and_names_the_weight(self, head, damage, tmp_path):
        model = make(head)
        model.save_pretrained(tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        prefix = "" if head == "model" else "recformer."
        name = f"{prefix}encoder.layer.1.attention.self.query.weight"
        if damage == "missing":
            del weights[name]
        else:
            weights[f"{prefix}encoder.layer.1.attention.self.rotary.weight"] = torch.zeros(3)
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"{damage} weights .*(query|rotary)"):
            type(model).from_pretrained(tmp_path)

    def test_another_width_raises(self, tmp_path):
        make("model").save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"other shapes embeddings\.\S+ is \[.*64\], expected \[.*32\]"):
            RecformerModel.from_pretrained(tmp_path, hidden_size=32)

    def test_a_setting_given_while_loading_is_checked(self, tmp_path):
        make("model").save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="even and positive"):
            RecformerModel.from_pretrained(tmp_path, attention_window=33)
        with pytest.raises(ValueError, match="too small for max_token_num"):
            RecformerModel.from_pretrained(tmp_path, max_token_num=4096)

    def test_a_checkpoint_of_another_architecture_raises(self, tmp_path):
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        BertModel(config).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"model type is 'bert'.*recformer_hf\.conversion"):
            RecformerModel.from_pretrained(tmp_path)


class TestItemEmbeddings:
    def test_stay_float32_in_every_dtype(self, tmp_path):
        model = make("seqrec with items")
        exact = model.item_embeddings.clone()
        model.save_pretrained(tmp_path)
        for half in (
            model.to(torch.bfloat16),
            RecformerForSeqRec.from_pretrained(tmp_path, dtype=torch.bfloat16),
            RecformerForSeqRec.from_pretrained(tmp_path, dtype=torch.float16),
            RecformerForSeqRec.from_pretrained(tmp_path).half(),
        ):
            assert half.recformer.dtype in (torch.bfloat16, torch.float16)
            assert torch.equal(half.item_embeddings, exact)

    def test_a_half_precision_model_round_trips(self, tmp_path):
        model = make("seqrec with items").to(torch.bfloat16)
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path, dtype="auto")
        for name, value in loaded.state_dict().items():
            assert value.dtype == model.state_dict()[name].dtype
            assert torch.equal(value, model.state_dict()[name])

    def test_same_scores_after_a_round_trip(self, tmp_path):
        model = make("seqrec with items")
        model.save_pretrained(tmp_path)
        batch = random_batch([20, 3], model.config)
        with torch.no_grad():
            assert torch.equal(RecformerForSeqRec.from_pretrained(tmp_path)(**batch).scores, model(**batch).scores)


class TestPlaces:
    def test_subfolder_variant_and_device_map(self, tmp_path):
        model = make("seqrec with items")
        model.save_pretrained(tmp_path / "sub", variant="a", max_shard_size="100KB")
        loaded = RecformerForSeqRec.from_pretrained(tmp_path, subfolder="sub", variant="a", device_map="cpu")
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())

    def test_offloaded_weights_give_the_same_result(self):
        from accelerate import cpu_offload

        model = make("model")
        batch = random_batch([20, 3], model.config)
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
            cpu_offload(model, execution_device=torch.device("cpu"))
            torch.testing.assert_close(model(**batch).last_hidden_state, expected, atol=1e-5, rtol=0)


class TestAutoClasses:
    def test_know_recformer(self, tmp_path, tokenizer):
        make("seqrec with items").save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        assert type(AutoConfig.from_pretrained(tmp_path)) is RecformerConfig
        assert type(AutoModel.from_pretrained(tmp_path)) is RecformerModel
        assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is RecformerForPretraining
        assert type(AutoModelForSequenceClassification.from_pretrained(tmp_path)) is RecformerForSeqRec
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert type(loaded) is RecformerTokenizer
        assert loaded(ITEMS[:2]) == tokenizer(ITEMS[:2])


class TestCodeOnTheSide:
    def test_loads_where_the_package_is_not_installed(self, tmp_path, tokenizer):
        absent = ("recformer_hf", "datasets", "pyarrow", "faiss", "pandas", "polars", "sentencepiece")
        scripts = {}
        for head in ("model", "pretraining", "seqrec with items"):
            model = make(head)
            folder = tmp_path / head.replace(" ", "-")
            model.save_pretrained(folder, with_code=True)
            tokenizer.save_pretrained(folder, with_code=True)
            batch = random_batch([20, 3], model.config)
            with torch.no_grad():
                pooled = encoder_of(model)(**batch).pooler_output
            save_file({**batch, "pooled": pooled}, tmp_path / f"{folder.name}.safetensors")
            scripts[f"load-{folder.name}"] = f"""
                import sys
                import torch
                from safetensors.torch import load_file
                from transformers import (AutoConfig, AutoModel, AutoModelForPreTraining,
                                          AutoModelForSequenceClassification, AutoTokenizer)

                folder = {str(folder)!r}
                batch = load_file(folder + ".safetensors")
                pooled = batch.pop("pooled")
                heads = dict(AutoModel="RecformerModel", AutoModelForPreTraining="RecformerForPretraining",
                             AutoModelForSequenceClassification="RecformerForSeqRec")
                assert type(AutoConfig.from_pretrained(folder, trust_remote_code=True)).__name__ == "RecformerConfig"
                for auto in (AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification):
                    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
                    assert type(model).__name__ == heads[auto.__name__], type(model)
                    encoder = getattr(model, "recformer", model)
                    with torch.no_grad():
                        torch.testing.assert_close(encoder(**batch).pooler_output, pooled, atol=1e-6, rtol=0)
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
                assert type(tokenizer).__name__ == "RecformerTokenizer"
                assert tokenizer({ITEMS[0]!r})["input_ids"] == {tokenizer(ITEMS[0])["input_ids"]}
                model.save_pretrained(folder + "-again")  # what came with code keeps it, for every head
                tokenizer.save_pretrained(folder + "-again")
                for auto in (AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification):
                    again = auto.from_pretrained(folder + "-again", trust_remote_code=True)
                    assert type(again).__name__ == heads[auto.__name__], type(again)
                again = AutoTokenizer.from_pretrained(folder + "-again", trust_remote_code=True)
                assert type(again).__name__ == "RecformerTokenizer"
                assert "recformer_hf" not in sys.modules
            """
        run_without(absent, scripts, tmp_path)

    def test_code_files_import_no_optional_package(self, tmp_path):
        make("model").save_pretrained(tmp_path, with_code=True)
        from transformers.dynamic_module_utils import get_imports

        allowed = {"torch", "transformers", "numpy", "safetensors", "huggingface_hub", "tokenizers", "tqdm"}
        for file in tmp_path.glob("*.py"):
            found = {name for name in get_imports(file) if name not in sys.stdlib_module_names}
            assert found <= allowed, file.name

    def test_is_left_out_unless_asked_for(self, tmp_path):
        make("model").save_pretrained(tmp_path / "with", with_code=True)
        RecformerModel.from_pretrained(tmp_path / "with").save_pretrained(tmp_path / "without")
        assert "auto_map" not in json.loads((tmp_path / "without" / "config.json").read_text())
        assert not list((tmp_path / "without").glob("*.py"))


class TestPush:
    @pytest.fixture
    def uploads(self, monkeypatch) -> dict[str, set[str]]:
        """What would be uploaded, by repository: `huggingface_hub` is cut off at its API."""
        from huggingface_hub import HfApi
        from transformers.utils import hub

        found: dict[str, set[str]] = {}

        def create_repo(self, repo_id, **_):
            return type("Url", (str,), {"repo_id": repo_id})(f"https://huggingface.co/{repo_id}")

        def create_commit(self, repo_id, operations, **_):
            found.setdefault(repo_id, set()).update(operation.path_in_repo for operation in operations)
            return f"https://huggingface.co/{repo_id}/commit/0"

        # Older transformers call the module's functions, newer ones an HfApi.
        monkeypatch.setattr(HfApi, "create_repo", create_repo)
        monkeypatch.setattr(HfApi, "create_commit", create_commit)
        for name, function in (("create_repo", create_repo), ("create_commit", create_commit)):
            if hasattr(hub, name):
                monkeypatch.setattr(
                    hub, name, lambda *args, _function=function, **kwargs: _function(None, *args, **kwargs)
                )
        from huggingface_hub import ModelCard

        monkeypatch.setattr(
            hub, "create_and_tag_model_card", lambda *_, **__: ModelCard("---\nlibrary_name: transformers\n---\n")
        )
        return found

    def test_model_and_tokenizer(self, uploads, tokenizer):
        make("seqrec with items").push_to_hub("someone/recformer")
        tokenizer.push_to_hub("someone/recformer")
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= uploads[
            "someone/recformer"
        ]
        assert not any(name.endswith((".py", ".bin")) for name in uploads["someone/recformer"])

    def test_with_code(self, uploads, tokenizer):
        model = make("model")
        model.push_to_hub("someone/recformer", with_code=True)
        tokenizer.push_to_hub("someone/recformer", with_code=True)
        assert {"modeling_recformer.py", "tokenization_recformer.py"} <= uploads["someone/recformer"]
        model.push_to_hub("someone/plain")
        assert "modeling_recformer.py" not in uploads["someone/plain"]


def test_a_folder_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        RecformerModel.from_pretrained(Path(tmp_path) / "nowhere")
