"""Whole-word masking: which words are chosen, and what becomes of their tokens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from recformer_hf.data.collators import PretrainingCollator
from recformer_hf.data.draws import Draws
from recformer_hf.data.masking import WholeWordMasking, _choose_words
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.data.torch_datasets import TrainingSequences
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.packed_batches import (
    CATALOG,
    ITEMS,
    TOKENIZER,
    index,
    random_histories,
    sequences_of,
    split,
    with_limits,
)


class TestMasking:
    data = TrainingSequences([split(random_histories(2000, len(ITEMS), longest=20))])
    collator = PretrainingCollator([CATALOG], TOKENIZER, seed=0)

    @pytest.fixture(scope="class")
    def batch(self) -> dict[str, np.ndarray]:
        batch = self.collator(self.data[index(range(2000))])
        return {name: value.numpy().reshape(-1) for name, value in batch.items() if torch.is_tensor(value)}

    def test_labels_are_the_words_that_stood_there(self, batch):
        chosen = batch["mlm_labels"] != -100
        assert np.array_equal(batch["mlm_labels"][chosen], batch["input_ids"][chosen])
        assert np.array_equal(batch["mlm_input_ids"][~chosen], batch["input_ids"][~chosen])
        assert np.array_equal(batch["masked_rows"], np.flatnonzero(chosen))

    def test_a_seventh_of_the_tokens_are_chosen_on_both_sides(self, batch):
        chosen = batch["mlm_labels"] != -100
        half = batch["cu_seqlens"][2000]
        assert abs(chosen[:half].mean() - 0.15) < 0.005
        # Items are short: the budget is rounded and longer words never fit into it.
        assert abs(chosen[half:].mean() - 0.15) < 0.03
        sizes = np.diff(batch["cu_seqlens"]) - 1
        counts = np.add.reduceat(chosen.astype(int), batch["cu_seqlens"][:-1])
        assert (counts <= np.maximum(np.rint(0.15 * sizes), 1)).all()

    def test_80_10_10(self, batch):
        chosen = batch["mlm_labels"] != -100
        masked, original = batch["mlm_input_ids"][chosen], batch["input_ids"][chosen]
        assert abs((masked == TOKENIZER.mask_token_id).mean() - 0.8) < 0.01
        assert abs((masked == original).mean() - 0.1) < 0.01  # a random token is the same one time in 400
        drawn = masked[(masked != TOKENIZER.mask_token_id) & (masked != original)]
        assert abs(len(drawn) / len(masked) - 0.1) < 0.01
        assert not set(drawn.tolist()) & set(TOKENIZER.all_special_ids)
        assert len(set(drawn.tolist())) > 0.9 * (len(TOKENIZER) - 5)

    def test_first_tokens_are_never_chosen(self, batch):
        assert (batch["mlm_labels"][batch["cu_seqlens"][:-1]] == -100).all()

    def test_words_are_chosen_whole(self, batch):
        """By the tokenizer's own reading of each item's text, not by what the catalogue stores."""
        begins = TOKENIZER.word_start_mask()
        chosen, types, bounds = batch["mlm_labels"] != -100, batch["token_type_ids"], batch["cu_seqlens"]
        positions, ids = batch["item_position_ids"], batch["input_ids"]
        split_words = longer = 0
        for start, stop in itertools.pairwise(bounds):
            for place in range(start + 2, stop):
                same_text = types[place] == types[place - 1] and positions[place] == positions[place - 1]
                if same_text and not begins[ids[place]]:
                    longer += 1
                    split_words += chosen[place] != chosen[place - 1]
        assert split_words == 0
        assert longer > 1000

    def test_every_word_may_be_chosen(self):
        """Over the epochs, all words of a context with budget for each of them."""
        data = TrainingSequences([split([[3] * 20])])
        seen = np.zeros(CATALOG.lengths[3], dtype=bool)
        for epoch in range(200):
            batch = self.collator(data[index([0], epoch)])
            labels = batch["mlm_labels"][0, 1 : 1 + len(seen)].numpy()
            seen |= labels != -100
        assert seen.all()

    def test_context_and_item_are_masked_apart(self):
        data = TrainingSequences([split([[3, 3]] * 30)])
        batch = self.collator(data[index(range(30))])
        labels = [sequence[3] for sequence in sequences_of(batch, "mlm_labels")]
        assert sequences_of(batch)[:30] == sequences_of(batch)[30:]
        assert sum(one != two for one, two in zip(labels[:30], labels[30:], strict=True)) > 15

    def test_the_same_user_is_masked_the_same_in_any_batch(self):
        fields = ("mlm_input_ids", "mlm_labels")
        whole = sequences_of(self.collator(self.data[index(range(50), 4)]), *fields)
        part = sequences_of(self.collator(self.data[index([31, 2], 4)]), *fields)
        assert part == [whole[31], whole[2], whole[81], whole[52]]
        other = sequences_of(self.collator(self.data[index([31, 2], 5)]), *fields)
        assert part != other

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 12)), min_size=1, max_size=5
        ),
        st.integers(0, 2**32 - 1),
    )
    def test_the_choice_of_words_is_the_greedy_one(self, rows, seed):
        """Words in random order; each is taken if it fits into what is left."""
        sizes = np.array([size for words, _ in rows for size in words])
        bounds = np.cumsum([0, *(len(words) for words, _ in rows)])
        numbers = np.random.default_rng(seed).integers(0, 2**32, len(sizes), dtype=np.uint32)
        chosen = _choose_words(sizes, bounds, np.array([budget for _, budget in rows]), numbers)
        for row, (words, budget) in enumerate(rows):
            taken, own = [False] * len(words), numbers[bounds[row] : bounds[row + 1]]
            for word in np.argsort(own, kind="stable"):
                if words[word] <= budget:
                    budget, taken[word] = budget - words[word], True
            assert chosen[bounds[row] : bounds[row + 1]].tolist() == taken

    def test_unknown_tokens_in_the_text_are_never_chosen(self):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "ham", "##mer", "claw", "title", "##s", "brand"]
        backend = Tokenizer(models.WordPiece({token: row for row, token in enumerate(vocabulary)}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        specials = {"unk_token": "[UNK]", "cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
        tokenizer = RecformerTokenizer(tokenizer_object=backend, **specials)
        catalog = TokenizedCatalog.from_items([{"title": "claw hammers qqq zzz"}], tokenizer)
        collator = PretrainingCollator([catalog], tokenizer, seed=0, mlm_probability=0.9)
        batch = collator(TrainingSequences([split([[0, 0]] * 200)])[index(range(200))])
        labels = set(batch["mlm_labels"][0].tolist())
        assert labels == {-100, 4, 5, 6, 7, 8}
        whole = [sequence[3][3:6] for sequence in sequences_of(batch, "mlm_labels")]
        assert {word for word in whole if word != (-100, -100, -100)} == {(4, 5, 8)}

    def test_errors(self):
        no_mask = RecformerTokenizer(tokenizer_object=models_only_backend(), unk_token="[UNK]", cls_token="[CLS]")
        with pytest.raises(ValueError, match="no mask token"):
            WholeWordMasking(no_mask, Draws(0), 0.15)
        with pytest.raises(ValueError, match=r"\(0, 1\), got 1.5"):
            WholeWordMasking(TOKENIZER, Draws(0), 1.5)
        with pytest.raises(ValueError, match="max_token_num is 100,000"):
            WholeWordMasking(with_limits(max_token_num=100_000), Draws(0), 0.15)


def models_only_backend() -> Tokenizer:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "a": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend
