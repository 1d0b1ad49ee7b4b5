"""Whole-word masking of packed sequences, vectorised over the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .composition import PackedSequences
from .draws import Draws

if TYPE_CHECKING:
    from ..tokenization_recformer import RecformerTokenizer

IGNORED = -100
"""Label of a token that is not to be predicted."""

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token and a random one; the others stay (BERT's rule)."""

_MAX_WORDS = 2**16
"""Words of a sequence, and sequences of a batch: both stand in one sort key beside 32 random bits."""


class WholeWordMasking:
    """Chooses words and masks all of their tokens (BERT's whole-word masking, which the paper's pretraining uses).

    Of every sequence about `probability` of the tokens are chosen: its words come in random order, and a word is taken
    if it fits into what is left of the sequence's budget, `probability` times its tokens, rounded, at least one. So a
    word with more tokens than the whole budget is never chosen. Of the chosen tokens 80 % become the mask token, 10 %
    another token of the vocabulary (no special one), 10 % stay. Special tokens, `<s>` and the unknown token among them,
    are never chosen and count for nothing.

    Args:
        tokenizer: gives the mask token, the special tokens and the vocabulary.
        draws: random numbers.
        probability (`float`, in (0, 1)): share of tokens to choose.

    Raises:
        ValueError: if the probability is outside (0, 1), the tokenizer has no mask token, or its `max_token_num` is
            above 65,536.
    """

    def __init__(self, tokenizer: RecformerTokenizer, draws: Draws, probability: float) -> None:
        if not 0 < probability < 1:
            raise ValueError(f"The share of tokens to mask must lie in (0, 1), got {probability}.")
        if tokenizer.mask_token_id is None:
            raise ValueError(
                "The tokenizer has no mask token. Name it: "
                "RecformerTokenizer.from_pretrained(..., mask_token='<mask>')."
            )
        if tokenizer.max_token_num > _MAX_WORDS:
            raise ValueError(
                f"Masking takes sequences of at most {_MAX_WORDS:,} tokens, and max_token_num is "
                f"{tokenizer.max_token_num:,}."
            )
        special = set(tokenizer.all_special_ids)
        special |= {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.maskable = np.ones(len(tokenizer), dtype=bool)
        self.maskable[list(special)] = False
        self.random_ids = np.flatnonzero(self.maskable)
        self.mask_token_id: int = tokenizer.mask_token_id
        self.draws = draws
        self.probability = probability

    def __call__(
        self,
        packed: PackedSequences,
        keys: tuple[np.ndarray, np.ndarray, np.ndarray],
        word_streams: np.ndarray,
        token_streams: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks a batch.

        Args:
            packed: the sequences, with `word_starts`.
            keys: epoch, dataset and user of each sequence, each int `[num_sequences]`.
            word_streams, token_streams (`Stream` `[num_sequences]`): streams of the choice of words, and of what
                becomes of their tokens.

        Returns:
            the masked ids, and the labels: the original ids of the chosen tokens, -100 elsewhere; int64
            `[total_tokens]` each.

        Raises:
            ValueError: if the batch has 65,536 sequences or more.
        """
        assert packed.word_starts is not None
        ids, bounds = packed.input_ids, packed.bounds
        num_sequences = len(bounds) - 1
        if num_sequences >= _MAX_WORDS:
            raise ValueError(f"Masking takes batches under {_MAX_WORDS:,} sequences, got {num_sequences:,}.")
        maskable = self.maskable[ids]
        first_tokens = np.flatnonzero(packed.word_starts)
        sizes = np.add.reduceat(maskable, first_tokens, dtype=np.int64)
        word_bounds = np.searchsorted(first_tokens, bounds)
        budget = self.probability * np.add.reduceat(maskable, bounds[:-1], dtype=np.int64)
        epoch, dataset, user = keys
        numbers = self.draws.ragged(word_streams, epoch, dataset, user, np.diff(word_bounds))
        words = _choose_words(sizes, word_bounds, np.maximum(np.rint(budget).astype(np.int64), 1), numbers)

        chosen = np.repeat(words, np.diff(np.append(first_tokens, len(ids)))) & maskable
        places = np.flatnonzero(chosen)
        sequence = np.searchsorted(bounds, places, side="right") - 1
        purpose = (token_streams[sequence], epoch[sequence], dataset[sequence], user[sequence])
        numbers = self.draws.blocks(*purpose, places - bounds[sequence])
        fate = numbers[:, 0] * 2.0**-32
        random_id = self.random_ids[(numbers[:, 1] * (len(self.random_ids) / 2**32)).astype(np.int64)]
        original = ids[places]
        labels = np.full_like(ids, IGNORED)
        labels[places] = original
        masked = ids.copy()
        masked[places] = np.where(
            fate < MASK_SHARE, self.mask_token_id, np.where(fate < MASK_SHARE + RANDOM_SHARE, random_id, original)
        )
        return masked, labels


def _choose_words(sizes: np.ndarray, bounds: np.ndarray, budget: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Takes the words of each sequence in random order, each that fits into what is left of the sequence's budget.

    Args:
        sizes (int `[num_words]`): tokens of each word.
        bounds (int `[num_sequences + 1]`): words of each sequence.
        budget (int `[num_sequences]`): tokens to choose of each sequence.
        numbers (uint32 `[num_words]`): random numbers that order the words.

    Returns:
        bool `[num_words]`.
    """
    counts = np.diff(bounds)
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(sizes)) - bounds[owner]
    # Sorting one number that holds sequence, random number and place is much faster than sorting by them.
    key = (owner << 48 | place).astype(np.uint64) | numbers.astype(np.uint64) << np.uint64(16)
    key.sort()
    owner = (key >> np.uint64(48)).astype(np.int64)
    word = bounds[owner] + (key & np.uint64(_MAX_WORDS - 1)).astype(np.int64)
    size, left = sizes[word], budget.copy()
    chosen = np.zeros(len(sizes), dtype=bool)
    while True:
        # What is too large now stays too large. Of the rest, all words up to the first that does not fit are taken.
        fits = size <= left[owner]
        owner, word, size = owner[fits], word[fits], size[fits]
        if not owner.size:
            return chosen
        running = np.cumsum(size)
        before = np.append(0, running)[np.searchsorted(owner, np.arange(len(left)))]
        taken = running <= (before + left)[owner]
        chosen[word[taken]] = True
        left -= np.bincount(owner[taken], weights=size[taken], minlength=len(left)).astype(np.int64)
        owner, word, size = owner[~taken], word[~taken], size[~taken]
