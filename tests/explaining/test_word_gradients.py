"""Gradient times input, against the change of a score when the embedding of one token is scaled."""

from __future__ import annotations

import torch

from recformer_hf.explaining.word_gradients import token_gradients
from recformer_hf.explaining.words import read_alone, read_in_history, read_items
from tests.support.explanations import recommender, tokenizer
from tests.support.shops import CATALOG


def scores(vectors: torch.Tensor) -> torch.Tensor:
    """Two scores that depend on all vectors."""
    weights = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
    return torch.stack([(vectors * weights).sum(), (vectors * weights).square().sum()])


def plain(model, sequences: list[dict], place: int, token: int) -> list[float]:
    """The derivatives of both scores by the scale of one token's embedding, by central differences."""
    table, step, found = model.recformer.embeddings.word_embeddings.weight, 1e-2, []
    for sign in (1, -1):
        vectors = []
        for number, sequence in enumerate(sequences):
            embedded = table[torch.tensor(sequence["input_ids"])].clone()
            if number == place:
                embedded[token] *= 1 + sign * step
            others = {name: torch.tensor([sequence[name]]) for name in ("token_type_ids", "item_position_ids")}
            vectors.append(model.recformer(inputs_embeds=embedded[None], **others).pooler_output[0])
        found.append(scores(torch.stack(vectors)))
    return ((found[0] - found[1]) / (2 * step)).tolist()


@torch.no_grad()
def test_in_a_history():
    """Tokens come in the order of the items, oldest first, though a sequence begins with the newest."""
    model, texts = recommender("paper"), [CATALOG[3], CATALOG[4]]
    items = read_items(texts, tokenizer())
    read_in_history(items, 50, 128)
    found = token_gradients(model, items, tokenizer().bos_token_id, scores)
    lengths = [len(item.tokens()[0]) for item in items]
    assert found.shape == (2, sum(lengths))
    sequence = dict(tokenizer()(texts))
    for column, token in ((0, 1 + lengths[1]), (2, 3 + lengths[1]), (lengths[0], 1), (sum(lengths) - 1, lengths[1])):
        expected = plain(model, [sequence], 0, token)
        torch.testing.assert_close(found[:, column].tolist(), expected, rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_of_items_alone():
    model, texts = recommender("paper"), [CATALOG[5], CATALOG[6]]
    items = read_items(texts, tokenizer())
    read_alone(items, 128)
    found = token_gradients(model, items, tokenizer().bos_token_id, scores)
    sequences = [dict(tokenizer()(text)) for text in texts]
    first = len(sequences[0]["input_ids"]) - 1
    for column, (place, token) in {0: (0, 1), first - 1: (0, first), first: (1, 1), first + 2: (1, 3)}.items():
        expected = plain(model, sequences, place, token)
        torch.testing.assert_close(found[:, column].tolist(), expected, rtol=2e-2, atol=2e-2)


def test_no_weight_gets_a_gradient():
    model = recommender("paper")
    items = read_items([CATALOG[0]], tokenizer())
    read_in_history(items, 50, 128)
    token_gradients(model, items, tokenizer().bos_token_id, scores)
    assert all(weight.grad is None for weight in model.parameters())
