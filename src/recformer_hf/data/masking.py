"""Whole-word masking of packed sequences, vectorised over the batch."""

from __future__ import annotations

import numpy as np

from ..tokenization_recformer import RecformerTokenizer
from .arrays import offsets_from_lengths
from .composition import PackedSequences
from .draws import Draws

IGNORED = -100
"""Label of a token that is not predicted; torch's cross entropy ignores it by default."""

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token and a random token; the others stay (BERT's rule)."""

_MAX_WORDS = 2**16
"""Limit of words per sequence and of sequences per batch: one 64-bit sort key holds both along with 32 random bits."""


class WholeWordMasking:
    """Chooses words and masks all of their tokens (BERT's whole-word masking, which the paper's pretraining uses).

    About `probability` of the tokens of every sequence are chosen. The budget of a sequence is `probability` times its
    number of tokens, rounded, at least one. Its words are visited in random order, and a word is chosen if it fits into
    the rest of the budget, so a word with more tokens than the whole budget is never chosen. Of the chosen tokens, 80 %
    become the mask token, 10 % become a random token of the vocabulary that is not special, and 10 % stay. Special
    tokens, including `<s>` and the unknown token, are never chosen and do not count as tokens.

    Args:
        tokenizer: provides the mask token, the special tokens and the vocabulary.
        draws: source of the random numbers.
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
                "The tokenizer has no mask token. Set one: "
                "RecformerTokenizer.from_pretrained(..., mask_token='<mask>')."
            )
        if tokenizer.max_token_num > _MAX_WORDS:
            raise ValueError(
                f"Masking takes sequences of at most {_MAX_WORDS:,} tokens, but max_token_num is "
                f"{tokenizer.max_token_num:,}. Lower the tokenizer's max_token_num."
            )
        special = set(tokenizer.all_special_ids)
        # `all_special_ids` has only the tokens with a role, such as mask or padding; others may be marked special too.
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
            word_streams, token_streams (`Stream` `[num_sequences]`): streams of the draws that choose words, and of
                those that replace their tokens.

        Returns:
            the masked ids, and the labels: the original ids of the chosen tokens, -100 elsewhere; int64
            `[total_tokens]` each.

        Raises:
            ValueError: if the batch has 65,536 sequences or more.
        """
        ids, bounds = packed.input_ids, packed.bounds
        num_sequences = len(bounds) - 1
        if num_sequences >= _MAX_WORDS:
            raise ValueError(
                f"Masking needs fewer than {_MAX_WORDS:,} sequences, got {num_sequences:,}. Use smaller batches."
            )
        places = self._choose_tokens(packed, keys, word_streams)
        sequence = np.searchsorted(bounds, places, side="right") - 1
        epoch, dataset, user = (key[sequence] for key in keys)
        # One block of numbers for each token, counted within its sequence: the draw does not depend on the batch.
        numbers = self.draws.blocks(token_streams[sequence], epoch, dataset, user, places - bounds[sequence])
        labels = np.full_like(ids, IGNORED)
        labels[places] = ids[places]
        masked = ids.copy()
        masked[places] = self._replace(ids[places], numbers)
        return masked, labels

    def _choose_tokens(
        self, packed: PackedSequences, keys: tuple[np.ndarray, np.ndarray, np.ndarray], streams: np.ndarray
    ) -> np.ndarray:
        """Positions of the chosen words' tokens in the batch, int64 `[num_chosen]`."""
        assert packed.word_starts is not None
        ids, bounds = packed.input_ids, packed.bounds
        maskable = self.maskable[ids]
        first_tokens = np.flatnonzero(packed.word_starts)
        sizes = np.add.reduceat(maskable, first_tokens, dtype=np.int64)
        word_bounds = np.searchsorted(first_tokens, bounds)
        budget = self.probability * np.add.reduceat(maskable, bounds[:-1], dtype=np.int64)
        numbers = self.draws.ragged(streams, *keys, np.diff(word_bounds))
        words = _choose_words(sizes, word_bounds, np.maximum(np.rint(budget).astype(np.int64), 1), numbers)
        return np.flatnonzero(np.repeat(words, np.diff(np.append(first_tokens, len(ids)))) & maskable)

    def _replace(self, original: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Ids that replace these, int64 `[n]`; numbers (uint32 `[n, 4]`) decide how, and which random id."""
        fate = numbers[:, 0] * 2.0**-32
        random_id = self.random_ids[(numbers[:, 1] * (len(self.random_ids) / 2**32)).astype(np.int64)]
        return np.where(
            fate < MASK_SHARE, self.mask_token_id, np.where(fate < MASK_SHARE + RANDOM_SHARE, random_id, original)
        )


def _choose_words(sizes: np.ndarray, bounds: np.ndarray, budget: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Visits the words of each sequence in random order and chooses each that fits into the rest of its budget.

    Args:
        sizes (int `[num_words]`): tokens of each word.
        bounds (int `[num_sequences + 1]`): words of each sequence.
        budget (int `[num_sequences]`): most tokens to choose of each sequence.
        numbers (uint32 `[num_words]`): random numbers; words are visited in their order.

    Returns:
        bool `[num_words]`, whether a word is chosen.
    """
    counts = np.diff(bounds)
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(sizes)) - bounds[owner]
    # Sorting one number that holds sequence, random number and place is much faster than sorting by all three.
    key = (owner << 48 | place).astype(np.uint64) | numbers.astype(np.uint64) << np.uint64(16)
    key.sort()
    owner = (key >> np.uint64(48)).astype(np.int64)
    word = bounds[owner] + (key & np.uint64(_MAX_WORDS - 1)).astype(np.int64)
    size, left = sizes[word], budget.copy()
    chosen = np.zeros(len(sizes), dtype=bool)
    while True:
        # A word that is too large now stays too large, because budgets only shrink. Of the others, each round takes all
        # up to the first that no longer fits: a few rounds instead of a loop over words.
        fits = size <= left[owner]
        owner, word, size = owner[fits], word[fits], size[fits]
        if not owner.size:
            return chosen
        running = offsets_from_lengths(size)
        before = running[np.searchsorted(owner, np.arange(len(left)))]
        taken = running[1:] <= (before + left)[owner]
        chosen[word[taken]] = True
        left -= np.bincount(owner[taken], weights=size[taken], minlength=len(left)).astype(np.int64)
        owner, word, size = owner[~taken], word[~taken], size[~taken]
