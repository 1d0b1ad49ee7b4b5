"""RecformerForSeqRec and RecformerForPretraining beyond the golden numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recformer_hf import RecformerForPretraining, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.encoder import kernels
from recformer_hf.encoder.cpu.rows import rows_to_run
from tests.support.models import enliven, pack, random_batch, small_config

ITEMS = [
    {"title": f"{colour} {thing}", "brand": brand}
    for colour in ("red", "green", "blue")
    for thing in ("kettle", "mug", "long handled garden spade with a spare grip")
    for brand in ("Acme", "Nordby")
]


@pytest.fixture
def seqrec() -> RecformerForSeqRec:
    model = enliven(RecformerForSeqRec(small_config(num_items=9))).eval()
    model.set_item_embeddings(torch.randn(9, 64, generator=torch.Generator().manual_seed(5)))
    return model


class TestSeqRec:
    def test_padded_and_packed_agree(self, seqrec):
        batch = random_batch([20, 3, 9], seqrec.config)
        labels = torch.tensor([1, 0, 8])
        with torch.no_grad():
            padded, packed = seqrec(**batch, labels=labels), seqrec(**pack(batch), labels=labels)
        torch.testing.assert_close(padded.scores, packed.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(padded.loss, F.cross_entropy(padded.scores, labels))
        assert padded.logits is padded.scores
        assert padded.user_embeds.shape == (3, 64)

    def test_equal_items_give_log_n(self, seqrec):
        seqrec.set_item_embeddings(torch.ones(9, 64))
        loss = seqrec(**random_batch([20, 3], seqrec.config), labels=torch.tensor([1, 0])).loss
        assert loss.item() == pytest.approx(math.log(9), abs=1e-5)

    def test_candidates(self, seqrec):
        batch = random_batch([20, 3], seqrec.config)
        candidates = torch.tensor([[3, 1, 8], [0, 0, 2]])
        with torch.no_grad():
            scores = seqrec(**batch).scores
            output = seqrec(**batch, candidates=candidates, labels=torch.tensor([8, 2]))
        torch.testing.assert_close(output.scores, scores.gather(1, candidates), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(output.loss, F.cross_entropy(output.scores, torch.tensor([2, 2])))

    def test_sampled_softmax_draws_with_torchs_seed(self, seqrec):
        batch, labels = random_batch([20, 3], seqrec.config), torch.tensor([1, 0])
        losses = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            losses.append(seqrec(**batch, labels=labels, num_negatives=4).loss.item())
        assert losses[0] == losses[1] != losses[2]

    def test_item_embeddings_train_only_when_asked(self, seqrec):
        batch, labels = random_batch([20, 3], seqrec.config), torch.tensor([1, 0])
        seqrec(**batch, labels=labels).loss.backward()
        assert seqrec.item_embeddings.grad is None
        seqrec.item_embeddings.requires_grad_()
        for arguments in ({}, {"num_negatives": 3}):
            seqrec(**batch, labels=labels, **arguments).loss.backward()
            assert seqrec.item_embeddings.grad.abs().sum() > 0
            seqrec.item_embeddings.grad = None

    def test_short_last_layer_leaves_its_local_projections_without_gradient(self, seqrec):
        seqrec(**random_batch([20, 3], seqrec.config), labels=torch.tensor([1, 0])).loss.backward()
        last = seqrec.recformer.encoder.layer[-1].attention.self
        assert last.query.weight.grad is None
        assert last.query_global.weight.grad is not None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"labels": torch.tensor([9, 0])}, "labels must lie between 0 and 8 .*num_items is 9.*got 9"),
            ({"labels": torch.tensor([-1, 0])}, "got -1"),
            ({"labels": torch.tensor([1])}, "labels has 1 rows, but the batch has 2"),
            ({"candidates": torch.tensor([[1], [2], [3]]), "labels": torch.tensor([1, 2])}, "candidates has 3 rows"),
            ({"labels": torch.tensor([[1], [0]])}, r"labels must be \[batch\]"),
            ({"candidates": torch.tensor([1, 2])}, r"candidates must be \[batch, num_candidates\]"),
            ({"candidates": torch.tensor([[1, 2]])}, "candidates has 1 rows"),
            ({"candidates": torch.tensor([[1, 9], [0, 0]])}, "got 9"),
            (
                {"candidates": torch.tensor([[1], [0]]), "labels": torch.tensor([1, 2])},
                r"Row 1: the label \(2\) is not",
            ),
            ({"num_negatives": 3}, "pass labels"),
            ({"num_negatives": 0, "labels": torch.tensor([1, 0])}, "num_negatives must be at least 1"),
            ({"num_negatives": 3, "candidates": torch.tensor([[1], [0]])}, "at most one"),
        ],
    )
    def test_bad_arguments(self, seqrec, arguments, message, monkeypatch):
        """All of them before the encoder runs."""
        monkeypatch.setattr(seqrec.recformer, "forward", lambda *_, **__: pytest.fail("the encoder ran"))
        with pytest.raises(ValueError, match=message):
            seqrec(**random_batch([20, 3], seqrec.config), **arguments)

    def test_labels_of_any_integer_type(self, seqrec):
        batch, labels = random_batch([20, 3], seqrec.config), torch.tensor([1, 0])
        expected = seqrec(**batch, labels=labels).loss
        assert torch.equal(seqrec(**batch, labels=labels.int()).loss, expected)

    def test_models_of_one_config_have_catalogues_of_their_own(self):
        config = small_config()
        full, empty = RecformerForSeqRec(config), RecformerForSeqRec(config)
        full.set_item_embeddings(torch.ones(5, 64))
        assert (full.config.num_items, empty.config.num_items, config.num_items) == (5, 0, 0)
        with pytest.raises(ValueError, match="no items"):
            empty(**random_batch([5], config))

    def test_a_model_without_items_says_what_to_do(self):
        model = RecformerForSeqRec(small_config())
        with pytest.raises(ValueError, match=r"no items to score.*set_item_embeddings\(model.encode_items"):
            model(**random_batch([5], model.config))

    @pytest.mark.parametrize(
        ("embeddings", "message"),
        [
            (torch.zeros(3, 65), r"\[num_items, 64\], got \[3, 65\]"),
            (torch.zeros(64), r"got \[64\]"),
            (torch.full((3, 64), float("nan")), "NaN"),
        ],
    )
    def test_bad_item_embeddings(self, seqrec, embeddings, message):
        with pytest.raises(ValueError, match=message):
            seqrec.set_item_embeddings(embeddings)
        assert seqrec.config.num_items == 9


class TestEncodeItems:
    @pytest.fixture(scope="class")
    def tokenizer(self) -> RecformerTokenizer:
        return RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=320, max_token_num=24)

    @pytest.mark.parametrize("pooler_type", ["cls", "avg"])
    def test_equal_items_encoded_one_by_one(self, tokenizer, pooler_type):
        model = enliven(RecformerForSeqRec(small_config(pooler_type=pooler_type, max_token_num=24))).train()
        vectors = model.encode_items(ITEMS, tokenizer, max_tokens=60)
        assert model.training  # as it was
        assert vectors.shape == (len(ITEMS), 64)
        assert not vectors.requires_grad
        model.eval()
        for item, vector in zip(ITEMS, vectors, strict=True):
            with torch.no_grad():
                alone = model.recformer(**tokenizer(item, return_tensors="pt")).pooler_output[0]
            torch.testing.assert_close(vector, alone, atol=1e-5, rtol=0)

    def test_the_first_token_is_the_tokenizers(self, tokenizer):
        """Also where a hand-made configuration names another."""
        model = enliven(RecformerForSeqRec(small_config(bos_token_id=5, max_token_num=24))).eval()
        vectors = model.encode_items(ITEMS[:1], tokenizer)
        with torch.no_grad():
            alone = model.recformer(**tokenizer(ITEMS[0], return_tensors="pt")).pooler_output
        torch.testing.assert_close(vectors, alone, atol=1e-5, rtol=0)

    def test_modules_keep_their_mode(self, tokenizer):
        model = RecformerForSeqRec(small_config()).train()
        model.recformer.embeddings.eval()
        model.encode_items(ITEMS[:2], tokenizer)
        assert model.training
        assert model.recformer.encoder.training
        assert not model.recformer.embeddings.training

    def test_order_and_batches_do_not_matter(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        vectors = model.encode_items(ITEMS, tokenizer)
        turned = model.encode_items(tokenizer.encode_items(ITEMS[::-1]), tokenizer, max_tokens=30)
        torch.testing.assert_close(turned.flip(0), vectors, atol=1e-5, rtol=0)

    def test_then_recommends(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        model.set_item_embeddings(model.encode_items(ITEMS, tokenizer))
        assert model.config.num_items == len(ITEMS)
        with torch.no_grad():
            scores = model(**tokenizer([[ITEMS[0], ITEMS[3]], [ITEMS[7]]], padding=True, return_tensors="pt")).scores
        # A history of one item is that item's own sequence: nothing is closer.
        assert scores.shape == (2, len(ITEMS))
        assert scores[1].argmax() == 7
        assert scores[1, 7].item() == pytest.approx(1 / 0.05, rel=1e-5)


class TestPretraining:
    @pytest.fixture
    def model(self) -> RecformerForPretraining:
        return enliven(RecformerForPretraining(small_config())).eval()

    def masked(self, batch: dict[str, torch.Tensor], share: float = 0.3) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        chosen = (torch.rand(batch["input_ids"].shape, generator=generator) < share) & batch["attention_mask"].bool()
        chosen[:, 0] = False
        labels = batch["input_ids"].masked_fill(~chosen, -100)
        return {**batch, "mlm_input_ids": batch["input_ids"].masked_fill(chosen, 3), "mlm_labels": labels}

    @pytest.mark.parametrize("pooler_type", ["cls", "avg"])
    def test_one_pass_equals_four(self, pooler_type):
        """Contexts, items and their masked copies, each encoded by itself and by all layers."""
        model = enliven(RecformerForPretraining(small_config(pooler_type=pooler_type))).eval()
        batch = self.masked(random_batch([40, 17, 3, 9, 12, 8], model.config))
        copies, labels = batch.pop("mlm_input_ids"), batch.pop("mlm_labels")
        with torch.no_grad():
            output = model(**batch, mlm_input_ids=copies, mlm_labels=labels)
            vectors = model.recformer(**batch).pooler_output
            scores = F.cosine_similarity(vectors[:3, None], vectors[None, 3:], dim=-1) / 0.05
            states = model.recformer(**{**batch, "input_ids": copies}).last_hidden_state
            logits = model.lm_head(states[labels != -100])
            expected = []
            for side in (slice(3), slice(3, 6)):
                chosen = labels[side] != -100
                expected.append(F.cross_entropy(model.lm_head(states[side][chosen]), labels[side][chosen]))
        torch.testing.assert_close(output.logits, scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.contrastive_loss, F.cross_entropy(scores, torch.arange(3)), atol=1e-4, rtol=0)
        torch.testing.assert_close(output.mlm_logits, logits, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.mlm_context_loss, expected[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(output.mlm_item_loss, expected[1], atol=1e-4, rtol=0)
        torch.testing.assert_close(output.loss, output.contrastive_loss + 0.1 * sum(expected), atol=1e-4, rtol=0)

    def test_masked_rows_say_what_the_labels_say(self, model):
        padded = self.masked(random_batch([40, 17, 3, 9, 12, 8], model.config))
        batch = pack(padded)
        rows = (batch["mlm_labels"][0] != -100).nonzero().squeeze(1)
        found, expected = model(**batch, masked_rows=rows), model(**batch)
        assert torch.equal(found.mlm_logits, expected.mlm_logits)
        assert torch.equal(found.loss, expected.loss)
        with pytest.raises(ValueError, match="rows of a packed batch"):
            model(**padded, masked_rows=rows)

    def test_the_last_layer_and_the_head_run_for_round_numbers_of_rows(self, model, monkeypatch):
        monkeypatch.setattr(kernels, "compiles_by_shape", lambda *_: True)
        batch = self.masked(random_batch([100, 120, 128, 70, 12, 30, 40, 31], model.config))
        seen = []
        for module in (model.recformer.encoder.layer[-1].attention.self.key, model.lm_head.dense):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        masked = int((batch["mlm_labels"] != -100).sum())
        total = int(batch["attention_mask"].sum())
        assert model(**batch).mlm_logits.shape[0] == masked
        assert seen == [rows_to_run(total, True), rows_to_run(masked, True)]
        assert seen != [total, masked]

    def test_without_masked_copies_only_the_contrastive_loss(self, model):
        output = model(**random_batch([9, 8], model.config))
        assert output.loss is output.contrastive_loss
        assert output.mlm_logits is None

    def test_nothing_masked_contributes_nothing(self, model):
        batch = random_batch([9, 8], model.config)
        output = model(**batch, mlm_input_ids=batch["input_ids"], mlm_labels=torch.full((2, 9), -100))
        assert output.mlm_context_loss.item() == output.mlm_item_loss.item() == 0
        output.loss.backward()

    def test_decoder_is_tied_unless_the_config_says_otherwise(self, model):
        embeddings = model.recformer.embeddings.word_embeddings
        assert model.lm_head.decoder.weight is embeddings.weight
        untied = RecformerForPretraining(small_config(tie_word_embeddings=False))
        assert untied.lm_head.decoder.weight is not untied.recformer.embeddings.word_embeddings.weight

    def test_vocabulary_can_grow(self, model):
        model.resize_token_embeddings(330)
        assert model.config.vocab_size == 330
        assert model.lm_head.decoder.weight is model.get_input_embeddings().weight
        batch = self.masked(random_batch([9, 8], model.config))
        assert model(**batch).mlm_logits.shape[1] == 330

    def test_frozen_word_embeddings_leave_the_rest_training(self, model):
        model.get_input_embeddings().weight.requires_grad_(False)
        model(**self.masked(random_batch([20, 5, 9, 8], model.config))).loss.backward()
        assert model.lm_head.dense.weight.grad.abs().sum() > 0
        assert model.lm_head.decoder.bias.grad.abs().sum() > 0
        assert model.get_input_embeddings().weight.grad is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mlm_labels": None}, "together"),
            ({"mlm_input_ids": torch.zeros(4, 3, dtype=torch.long)}, r"mlm_input_ids has shape \[4, 3\]"),
            ({"target_ids": torch.tensor([1, 2, 3])}, r"target_ids must be \[2\]"),
            ({"mlm_labels": torch.zeros(4, 20, dtype=torch.long)}, "<s> is never masked"),
        ],
    )
    def test_bad_arguments(self, model, change, message):
        batch = {**self.masked(random_batch([20, 5, 9, 8], model.config)), **change}
        with pytest.raises(ValueError, match=message):
            model(**batch)

    def test_an_odd_number_of_sequences(self, model):
        with pytest.raises(ValueError, match="3 sequences; it must hold as many target items as contexts"):
            model(**random_batch([9, 8, 7], model.config))


class TestLora:
    def test_an_adapter_on_every_projection_trains_and_changes_the_output(self):
        peft = pytest.importorskip("peft")
        model = enliven(RecformerForSeqRec(small_config(num_items=9))).eval()
        model.set_item_embeddings(torch.randn(9, 64))
        batch, labels = random_batch([20, 3, 40], model.config), torch.tensor([1, 0, 4])
        with torch.no_grad():
            before = model(**batch).scores
        projections = ["query", "key", "value", "query_global", "key_global", "value_global", "dense"]
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=projections, lora_dropout=0.0))
        with torch.no_grad():
            torch.testing.assert_close(adapted(**batch).scores, before, atol=1e-3, rtol=0)  # B starts at zero
        optimizer = torch.optim.Adam([w for w in adapted.parameters() if w.requires_grad], lr=1e-2)
        losses = []
        for _ in range(8):
            loss = adapted(**batch, labels=labels).loss
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        touched = {name for name, w in adapted.named_parameters() if w.requires_grad and w.grad is not None}
        first_layer = {name.split(".lora_")[0].split("layer.0.")[1] for name in touched if "layer.0." in name}
        wanted = {f"attention.self.{name}" for name in projections[:6]}
        assert first_layer == wanted | {"attention.output.dense", "intermediate.dense", "output.dense"}
        assert losses[-1] < losses[0] / 2
        with torch.no_grad():
            assert (adapted(**batch).scores - before).abs().max() > 0.1
            merged = adapted.merge_and_unload()
            assert (merged(**batch).scores - adapted(**batch).scores).abs().max() < 1e-3
