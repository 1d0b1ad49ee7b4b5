"""Packed batches: the tokenizer's own sequences, the replication's composition, the paper's masking, and the same batch
whoever composes it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader

from recformer_hf.data.collators import EvaluationCollator, FinetuningCollator, ItemCollator, PretrainingCollator
from recformer_hf.data.composition import Composer
from recformer_hf.data.draws import Draws
from recformer_hf.data.masking import WholeWordMasking, _choose_words
from recformer_hf.data.sampling import INDEX, EvaluationSequences, SequenceSampler, TrainingSequences
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.tokenized_catalog import TokenizedCatalog, tokenizer_fingerprint
from recformer_hf.tokenization_recformer import EncodedItem, RecformerTokenizer

FIXTURES = Path(__file__).parents[1] / "fixtures"
FIELDS = ("input_ids", "token_type_ids", "item_position_ids")

rng = np.random.default_rng(0)
WORDS = ["".join(rng.choice(list("abcdefgh"), size)) for size in rng.integers(2, 8, 60)]
ITEMS = [
    {"title": " ".join(rng.choice(WORDS, rng.integers(1, 9))), "brand": str(rng.choice(WORDS)), "year": int(row)}
    for row in range(50)
]
OTHER_ITEMS = [{"name": " ".join(rng.choice(WORDS, 3))} for _ in range(20)]
TOKENIZER = RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=400)
CATALOG = TokenizedCatalog.from_items(ITEMS, TOKENIZER)
OTHER = TokenizedCatalog.from_items(OTHER_ITEMS, TOKENIZER)


def with_limits(**limits: int) -> RecformerTokenizer:
    """The tokenizer with other limits of a sequence; the tokenized catalogues stay valid."""
    return RecformerTokenizer(tokenizer_object=TOKENIZER.backend_tokenizer, **TOKENIZER.special_tokens_map, **limits)


def split(histories: list[list[int]], targets: list[int] | None = None) -> Sequences:
    return Sequences.from_lists([f"u{row}" for row in range(len(histories))], histories, targets)


def random_histories(num_users: int, num_items: int, longest: int = 12, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, num_items, size).tolist() for size in generator.integers(2, longest, num_users)]


def sequences_of(batch: dict[str, Any], *fields: str) -> list[tuple[tuple[int, ...], ...]]:
    """The sequences of a packed batch, each a tuple of its fields."""
    bounds = batch["cu_seqlens"].tolist()
    flat = [batch[name][0].tolist() for name in (*FIELDS, *fields)]
    return [tuple(tuple(field[a:b]) for field in flat) for a, b in itertools.pairwise(bounds)]


def expected_sequence(tokenizer: RecformerTokenizer, catalog: TokenizedCatalog, history: list[int]) -> tuple:
    encoded = tokenizer.encode_history([catalog[item] for item in history])
    return tuple(tuple(encoded[name]) for name in FIELDS)


def index(users: range | list[int], epoch: int = 0, dataset: int = 0) -> np.ndarray:
    return np.array([(epoch, dataset, user) for user in users], dtype=INDEX)


class TestForm:
    """What every packed batch must be."""

    @pytest.fixture(params=["items", "evaluation", "finetuning", "pretraining"])
    def batch(self, request) -> dict[str, Any]:
        histories = random_histories(9, len(ITEMS))
        if request.param == "items":
            return ItemCollator(CATALOG, TOKENIZER)([4, 0, 49])
        if request.param == "evaluation":
            data = EvaluationSequences(split(histories, [0] * 9))
            return EvaluationCollator(CATALOG, TOKENIZER)(data[[8, 3]])
        data = TrainingSequences([split(histories)])
        if request.param == "finetuning":
            return FinetuningCollator(CATALOG, TOKENIZER, seed=0, num_negatives=5)(data[index(range(9))])
        return PretrainingCollator([CATALOG], TOKENIZER, seed=0)(data[index(range(9))])

    def test_shapes_and_types(self, batch):
        total = batch["input_ids"].shape[1]
        for name in (*FIELDS, "mlm_input_ids", "mlm_labels"):
            if name in batch:
                assert batch[name].dtype == torch.int64
                assert batch[name].shape == (1, total)
        bounds = batch["cu_seqlens"]
        assert bounds.dtype == torch.int32
        assert (bounds[0].item(), bounds[-1].item()) == (0, total)
        assert batch["max_seqlen"] == bounds.diff().max()
        for name in ("labels", "user_index", "item_index", "target_ids", "negatives"):
            if name in batch:
                assert batch[name].dtype == torch.int64

    def test_every_sequence_starts_with_s_and_nothing_else_is_s(self, batch):
        first = batch["cu_seqlens"][:-1].long()
        for name, value in (("input_ids", TOKENIZER.bos_token_id), ("token_type_ids", 0), ("item_position_ids", 0)):
            at_value = (batch[name][0] == value).nonzero().squeeze(1)
            assert torch.equal(at_value, first)

    def test_models_take_it(self, batch):
        from recformer_hf import RecformerForPretraining, RecformerForSeqRec, RecformerModel
        from tests.support.models import small_config

        config = small_config(vocab_size=len(TOKENIZER), max_token_num=1024, num_items=len(ITEMS))
        extra = {"user_index", "item_index"} & set(batch)
        inputs = {name: value for name, value in batch.items() if name not in extra}
        if "target_ids" in batch:
            model: Any = RecformerForPretraining(config)
        else:
            model = RecformerForSeqRec(config) if "labels" in batch else RecformerModel(config)
            if "labels" in batch:
                model.set_item_embeddings(torch.randn(len(ITEMS), 64))
        output = model(**inputs)
        if "labels" in batch or "target_ids" in batch:
            assert torch.isfinite(output.loss)


class TestComposition:
    def test_an_item_is_a_history_of_one(self):
        rows = [7, 0, 49, 7]
        batch = ItemCollator(CATALOG, TOKENIZER)(rows)
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, [row]) for row in rows]
        assert batch["item_index"].tolist() == rows

    def test_evaluation_histories_are_whole(self):
        histories = random_histories(9, len(ITEMS))
        data = EvaluationSequences(split(histories, list(range(9))))
        collator = EvaluationCollator(CATALOG, TOKENIZER)
        batch = collator(data[[8, 3, 3]])
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, histories[row]) for row in (8, 3, 3)]
        assert batch["labels"].tolist() == batch["user_index"].tolist() == [8, 3, 3]
        assert collator.lengths(data)[[8, 3, 3]].tolist() == batch["cu_seqlens"].diff().tolist()

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

    def test_items_of_another_catalogue_are_refused(self):
        data = TrainingSequences([split([[1, 20], [3, 4]])])
        collator = FinetuningCollator(OTHER, TOKENIZER, seed=0)
        with pytest.raises(ValueError, match=r"Items 1 to 20 are not all rows .* has 20 items"):
            collator.lengths(data)
        with pytest.raises(ValueError, match="not all rows"):
            ItemCollator(OTHER, TOKENIZER)([20])
        with pytest.raises(ValueError, match="1 datasets and 2 catalogues"):
            PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=0).lengths(data)


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


class TestFinetuning:
    histories = random_histories(300, len(ITEMS), longest=7)
    data = TrainingSequences([split(histories)])

    def test_the_target_is_any_item_behind_the_first_and_the_history_what_came_before(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0)
        distinct = [list(range(7)) for _ in range(700)]  # no item twice, so that the label tells the position
        batch = collator(TrainingSequences([split(distinct)])[index(range(700))])
        labels = batch["labels"].numpy()
        assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, list(range(label))) for label in labels]
        counts = np.bincount(labels, minlength=7)
        assert counts[0] == 0
        assert (np.abs(counts[1:] - 700 / 6) < 5 * np.sqrt(700 / 6)).all()

    def test_epochs_draw_anew_and_users_apart(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0)
        data = TrainingSequences([split([list(range(40))] * 50)])
        one, two = (collator(data[index(range(50), epoch)])["labels"] for epoch in (0, 1))
        assert not torch.equal(one, two)
        assert len(set(one.tolist())) > 15

    def test_what_a_user_gets_does_not_depend_on_the_batch(self):
        collator = FinetuningCollator(CATALOG, TOKENIZER, seed=0, num_negatives=3)
        whole, part = collator(self.data[index(range(300))]), collator(self.data[index([7, 3])])
        assert sequences_of(part) == [sequences_of(whole)[user] for user in (7, 3)]
        assert part["labels"].tolist() == whole["labels"][[7, 3]].tolist()
        assert part["negatives"].tolist() == whole["negatives"][[7, 3]].tolist()

    def test_negatives_are_any_other_item_each_as_likely(self):
        items = list(range(4))
        catalog = TokenizedCatalog.from_items(ITEMS[:4], TOKENIZER)
        batch = FinetuningCollator(catalog, TOKENIZER, seed=0, num_negatives=1000)(
            TrainingSequences([split([items] * 8)])[index(range(8))]
        )
        assert batch["negatives"].shape == (8, 1000)
        for label, negatives in zip(batch["labels"].tolist(), batch["negatives"], strict=True):
            counts = np.bincount(negatives.numpy(), minlength=4)
            assert counts[label] == 0
            assert counts[[item for item in items if item != label]].min() > 250

    def test_negatives_need_a_second_item(self):
        single = TokenizedCatalog.from_items(ITEMS[:1], TOKENIZER)
        with pytest.raises(ValueError, match="second item; got 3 and 1 items"):
            FinetuningCollator(single, TOKENIZER, seed=0, num_negatives=3)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.integers(2, 5), st.integers(10, 90), st.integers(0, 5))
    def test_lengths_bound_every_draw_and_the_longest_draw_reaches_them(self, seed, max_items, max_tokens, epoch):
        tokenizer = with_limits(max_item_embeddings=max_items, max_token_num=max_tokens)
        histories = random_histories(6, len(ITEMS), longest=8, seed=seed)
        data = TrainingSequences([split(histories)])
        collator = FinetuningCollator(CATALOG, tokenizer, seed=seed)
        (bounds,) = collator.lengths(data)
        assert (collator(data[index(range(6), epoch)])["cu_seqlens"].diff().numpy() <= bounds).all()
        for history, bound in zip(histories, bounds, strict=True):
            sizes = [len(expected_sequence(tokenizer, CATALOG, history[:t])[0]) for t in range(1, len(history))]
            assert bound == max(sizes)


class TestPretraining:
    def test_the_target_lies_in_the_later_half(self):
        collator = PretrainingCollator([CATALOG], TOKENIZER, seed=0, mlm_probability=0)
        for n in range(2, 12):
            batch = collator(TrainingSequences([split([list(range(n))] * 200)])[index(range(200))])
            targets = batch["target_ids"].numpy()
            assert set(targets.tolist()) == set(range(max(1, (n - 1) // 2), n))
            expected = [list(range(target)) for target in targets] + [[target] for target in targets]
            assert sequences_of(batch) == [expected_sequence(TOKENIZER, CATALOG, items) for items in expected]

    def test_without_masking_there_are_no_masked_copies(self):
        data = TrainingSequences([split([[1, 2]])])
        batch = PretrainingCollator([CATALOG], TOKENIZER, seed=0, mlm_probability=0)(data[index([0])])
        assert not {"mlm_input_ids", "mlm_labels", "masked_rows"} & set(batch)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.integers(2, 5), st.integers(10, 90), st.integers(0, 5))
    def test_lengths_bound_context_and_item_together(self, seed, max_items, max_tokens, epoch):
        tokenizer = with_limits(max_item_embeddings=max_items, max_token_num=max_tokens)
        histories = random_histories(6, len(ITEMS), longest=8, seed=seed)
        data = TrainingSequences([split(histories)])
        collator = PretrainingCollator([CATALOG], tokenizer, seed=seed)
        (bounds,) = collator.lengths(data)
        sizes = collator(data[index(range(6), epoch)])["cu_seqlens"].diff().numpy()
        assert (sizes[:6] + sizes[6:] <= bounds).all()
        for history, bound in zip(histories, bounds, strict=True):
            targets = range(max(1, (len(history) - 1) // 2), len(history))
            assert bound == max(
                len(expected_sequence(tokenizer, CATALOG, history[:t])[0])
                + len(expected_sequence(tokenizer, CATALOG, [history[t]])[0])
                for t in targets
            )

    def test_lengths_of_a_large_split_are_counted_in_chunks(self, monkeypatch):
        data = TrainingSequences(
            [split([*random_histories(200, len(ITEMS)), [1]]), split(random_histories(30, len(OTHER)))]
        )
        collator = PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=0)
        whole = collator.lengths(data)
        monkeypatch.setattr("recformer_hf.data.composition._ITEMS_AT_ONCE", 37)
        assert [part.tolist() for part in collator.lengths(data)] == [part.tolist() for part in whole]


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


class TestSameBatches:
    """Training batches are the same with 0 and 2 workers, with 1 and 2 processes, and after skipping half an epoch."""

    data = TrainingSequences(
        [split([*random_histories(60, len(ITEMS)), [1]]), split(random_histories(37, len(OTHER), seed=1))]
    )
    pretraining = PretrainingCollator([CATALOG, OTHER], TOKENIZER, seed=3)
    finetuning = FinetuningCollator(CATALOG, TOKENIZER, seed=3, num_negatives=4)

    @pytest.fixture(params=["pretraining batch_size", "pretraining max_tokens", "finetuning batch_size"])
    def task(self, request) -> tuple[Any, Any, dict[str, int]]:
        name, budget = request.param.split()
        collator = getattr(self, name)
        data = self.data if name == "pretraining" else TrainingSequences([split(random_histories(60, len(ITEMS)))])
        return data, collator, {budget: 8 if budget == "batch_size" else 1000}

    def loader(self, task, epoch: int, rank: int = 0, world_size: int = 1, workers: int = 0) -> DataLoader:
        data, collator, budget = task
        budget = {name: size // world_size for name, size in budget.items()}
        sampler = SequenceSampler(
            data.users, collator.lengths(data), seed=3, rank=rank, world_size=world_size, **budget
        )
        sampler.set_epoch(epoch)
        return DataLoader(data, batch_sampler=sampler, collate_fn=collator, num_workers=workers)

    @staticmethod
    def flat(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value.tolist() if torch.is_tensor(value) else value for name, value in batch.items()}

    @staticmethod
    def rows(batch: dict[str, Any]) -> list[Any]:
        """What each user got, in any order."""
        if "target_ids" in batch:
            found = sequences_of(batch, "mlm_input_ids", "mlm_labels")
            half = len(found) // 2
            return list(zip(batch["target_ids"].tolist(), found[:half], found[half:], strict=True))
        return list(zip(batch["labels"].tolist(), batch["negatives"].tolist(), sequences_of(batch), strict=True))

    def test_with_two_workers(self, task):
        alone, shared = (list(self.loader(task, 2, workers=workers)) for workers in (0, 2))
        assert [self.flat(batch) for batch in alone] == [self.flat(batch) for batch in shared]

    def test_with_two_processes(self, task):
        alone = list(self.loader(task, 1))
        ranks = [list(self.loader(task, 1, rank, 2)) for rank in (0, 1)]
        assert [len(batches) for batches in ranks] == [len(alone)] * 2
        for whole, *parts in zip(alone, *ranks, strict=True):
            assert sorted(self.rows(whole)) == sorted(row for part in parts for row in self.rows(part))

    def test_after_skipping_half_an_epoch_nothing_skipped_is_composed(self, task):
        from accelerate.data_loader import DataLoaderShard, skip_first_batches

        data, collator, _ = task
        composed = []

        def counting(batch):
            composed.append(len(batch))
            return collator(batch)

        sampler = self.loader(task, 0).batch_sampler
        loader = DataLoaderShard(data, batch_sampler=sampler, collate_fn=counting)
        loader.set_epoch(5)
        whole = [self.flat(batch) for batch in loader]
        composed.clear()
        half = len(whole) // 2
        rest = [self.flat(batch) for batch in skip_first_batches(loader, half)]
        assert rest == whole[half:]
        assert len(composed) == len(whole) - half
