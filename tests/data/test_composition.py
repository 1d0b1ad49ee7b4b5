"""Composed sequences: the tokenizer's own at any limits, and those of the public replication."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.collators import EvaluationCollator, FinetuningCollator, ItemCollator, PretrainingCollator
from recformer_hf.data.composition import Composer
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.data.torch_datasets import EvaluationSequences, TrainingSequences
from recformer_hf.tokenization_recformer import EncodedItem, RecformerTokenizer
from recformer_hf.tokenizing.tokenizer_fingerprint import tokenizer_fingerprint
from tests.support.packed_batches import (
    CATALOG,
    FIELDS,
    ITEMS,
    OTHER,
    TOKENIZER,
    expected_sequence,
    index,
    random_histories,
    sequences_of,
    split,
    with_limits,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"


class TestComposition:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, len(ITEMS) - 1), min_size=1, max_size=9), min_size=1, max_size=6),
        st.integers(2, 6),
        st.integers(1, 80),
    )
    def test_packed_sequences_are_those_of_the_tokenizer_at_any_limits(self, histories, max_items, max_tokens):
        tokenizer = with_limits(max_item_embeddings=max_items, max_token_num=max_tokens)
        data = EvaluationSequences(split(histories, [0] * len(histories)))
        collator = EvaluationCollator(CATALOG, tokenizer)
        batch = collator(data[np.arange(len(histories))])
        assert sequences_of(batch) == [expected_sequence(tokenizer, CATALOG, history) for history in histories]
        assert collator.lengths(data).tolist() == batch["cu_seqlens"].diff().tolist()

    def test_packed_sequences_decode_to_the_items_texts(self):
        histories = random_histories(5, len(ITEMS))
        batch = EvaluationCollator(CATALOG, TOKENIZER)(EvaluationSequences(split(histories, [0] * 5))[np.arange(5)])
        for history, (ids, types, positions) in zip(histories, sequences_of(batch), strict=True):
            for position, item in enumerate(reversed(history), 1):
                attributes = list(ITEMS[item].items())
                tokens = [(i, t) for i, t, p in zip(ids, types, positions, strict=True) if p == position]
                assert TOKENIZER.decode([i for i, _ in tokens]) == "".join(f"{key}{value}" for key, value in attributes)
                assert TOKENIZER.decode([i for i, t in tokens if t == 1]) == "".join(key for key, _ in attributes)

    def test_items_of_several_catalogues_in_one_batch(self):
        data = TrainingSequences([split([[1, 2], [3, 4]]), split([[5, 6], [7, 8]])])
        rows = np.concatenate([index([1], dataset=1), index([0]), index([0], dataset=1)])
        collator = PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=0)
        batch = collator(data[rows])
        expected = [(OTHER, [7]), (CATALOG, [1]), (OTHER, [5]), (OTHER, [8]), (CATALOG, [2]), (OTHER, [6])]
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, catalog, items) for catalog, items in expected]
        assert batch["target_ids"].tolist() == [len(ITEMS) + 8, 2, len(ITEMS) + 6]
        words = collator.composer.compose(
            rows["dataset"], np.array([7, 1, 5]), np.arange(3), np.arange(3) + 1, words=True
        )
        for place, (catalog, item) in enumerate([(OTHER, 7), (CATALOG, 1), (OTHER, 5)]):
            starts = words.word_starts[words.bounds[place] : words.bounds[place + 1]]
            span = slice(catalog.offsets[item], catalog.offsets[item + 1])
            assert starts.tolist() == [True, *catalog.word_starts[span].tolist()]

    def test_memory_mapped_and_in_memory_catalogues_give_the_same(self, tmp_path):
        CATALOG.save(tmp_path / "tokens")
        mapped = TokenizedCatalog.open(tmp_path / "tokens")
        batches = [ItemCollator(catalog, TOKENIZER)(np.arange(50)) for catalog in (CATALOG, mapped)]
        assert sequences_of(batches[0]) == sequences_of(batches[1])

    def test_a_catalogue_of_another_tokenizer_is_refused(self):
        other = RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=400, max_attr_num=1)
        with pytest.raises(ValueError, match="tokenized by another tokenizer"):
            ItemCollator(CATALOG, other)

    def test_tokens_that_the_tokenizer_does_not_have_are_refused(self):
        """Such a catalogue comes from damaged files; a model would look up memory outside its embeddings."""
        ids = CATALOG.input_ids.astype(np.int32)
        ids[3] = len(TOKENIZER)
        arrays = ids, CATALOG.token_type_ids, CATALOG.word_starts, CATALOG.offsets
        damaged = TokenizedCatalog(*arrays, "", CATALOG.tokenizer_fingerprint)
        with pytest.raises(ValueError, match=f"has the token {len(TOKENIZER)}, but the tokenizer only"):
            ItemCollator(damaged, TOKENIZER)

    def test_items_of_another_catalogue_are_refused(self):
        data = TrainingSequences([split([[1, 20], [3, 4]])])
        collator = FinetuningCollator(OTHER, TOKENIZER, seed=0)
        with pytest.raises(ValueError, match=r"Items 1 to 20 are not all rows .* has 20 items"):
            collator.lengths(data)
        with pytest.raises(ValueError, match="not all rows"):
            ItemCollator(OTHER, TOKENIZER)([20])
        with pytest.raises(ValueError, match="1 datasets and 2 catalogues"):
            PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=0).lengths(data)

    def test_lengths_of_a_large_split_are_counted_in_chunks(self, monkeypatch):
        data = TrainingSequences(
            [split([*random_histories(200, len(ITEMS)), [1]]), split(random_histories(30, len(OTHER)))]
        )
        collator = PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=0)
        whole = collator.lengths(data)
        monkeypatch.setattr("recformer_hf.data.composition._ITEMS_AT_ONCE", 37)
        assert [part.tolist() for part in collator.lengths(data)] == [part.tolist() for part in whole]


class TestGolden:
    """The public replication's batches: what was drawn there, composed here."""

    golden = json.loads((FIXTURES / "golden" / "collator.json").read_text())
    tokenizer = RecformerTokenizer.from_pretrained(FIXTURES / "tokenizer", max_token_num=128)

    @pytest.fixture(scope="class")
    def composer(self) -> Composer:
        encoded = [EncodedItem(np.array(ids), np.array(types)) for ids, types in self.golden["tokenized_items"]]
        offsets = np.cumsum([0, *(len(item.input_ids) for item in encoded)])
        ids, types = (np.concatenate(field) for field in zip(*encoded, strict=True))
        fingerprint = tokenizer_fingerprint(self.tokenizer)
        catalog = TokenizedCatalog(ids, types, np.ones(len(ids), bool), offsets, "", fingerprint)
        return Composer([catalog], self.tokenizer)

    def composed(self, composer: Composer, items: list[int]) -> list[list[int]]:
        one = np.zeros(1, dtype=np.int64)
        packed = composer.compose(one, np.array(items), one, one + len(items))
        return [getattr(packed, name).tolist() for name in FIELDS]

    @pytest.mark.parametrize("kind", ["finetuning", "evaluation"])
    def test_histories(self, composer, kind):
        compared = 0
        for user, row, label in zip(
            self.golden["users"], self.golden[kind], self.golden[f"{kind}_labels"], strict=True
        ):
            if row[0] == [0]:
                continue  # an empty history: here there is always one item
            contexts = [user[:place] for place in range(1, len(user)) if user[place] == label]
            assert row in [self.composed(composer, context) for context in contexts]
            compared += 1
        assert compared == {"finetuning": 3, "evaluation": 4}[kind]

    def test_pretraining_contexts_and_items(self, composer):
        compared = 0
        golden = self.golden
        rows = zip(golden["users"], golden["pretraining_contexts"], golden["pretraining_items"], strict=True)
        for user, context, item in rows:
            places = [place for place in range(len(user)) if self.composed(composer, [user[place]]) == item]
            assert places
            if context[0] != [0]:
                assert context in [self.composed(composer, user[:place]) for place in places if place]
                compared += 1
        assert compared == 3
