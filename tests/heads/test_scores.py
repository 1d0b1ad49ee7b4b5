import pytest
import torch
import torch.nn.functional as F

from recformer_hf import RecformerConfig
from recformer_hf.encoder.losses import similarity_scores
from recformer_hf.heads.history_items import Histories
from recformer_hf.heads.scores import Queries, items_of_batch, scores_and_loss, scores_of_all, scores_of_some
from recformer_hf.heads.scoring_head import ScoringHead
from tests.support.training import small_model

USERS, ITEMS = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), torch.eye(8)[:6] + 0.1
HISTORIES = Histories(torch.tensor([[4, 1], [2, -1]]), torch.tensor([[0, 1], [1, 0]]))


def head_with(**fields):
    head = ScoringHead(RecformerConfig(hidden_size=8, num_attention_heads=2, num_items=6, **fields))
    head.init_weights()
    return head


def test_scores_are_cosines_over_the_temperature():
    expected = F.normalize(USERS, dim=1) @ F.normalize(ITEMS, dim=1).T / 0.05
    torch.testing.assert_close(scores_of_all(head_with(), Queries(USERS), ITEMS), expected)


def test_without_parts_scores_are_the_papers_to_the_last_bit():
    assert torch.equal(scores_of_all(head_with(), Queries(USERS), ITEMS), similarity_scores(USERS, ITEMS, 0.05))


def test_a_bias_for_the_items_of_the_history():
    head = head_with(history_bias=True, learned_temperature=True)
    head.history_bias.data[:2] = torch.tensor([-3.0, 2.0])
    plain = scores_of_all(head_with(), Queries(USERS), ITEMS)
    scores = scores_of_all(head, Queries(USERS, HISTORIES), ITEMS)
    gains = torch.zeros(2, 6)
    gains[0, 1], gains[0, 4], gains[1, 2] = -3, 2, -3
    torch.testing.assert_close(scores, plain + gains)
    candidates = torch.tensor([[4, 0, 1], [3, 2, 5]])
    some = scores_of_some(head, Queries(USERS, HISTORIES), ITEMS, candidates)
    torch.testing.assert_close(some, scores.gather(1, candidates))


def test_equal_items_tie_but_for_the_bias():
    items = ITEMS[[0, 1, 0, 3, 1, 5]]
    head = head_with(history_bias=True)
    head.history_bias.data[:2] = torch.tensor([-3.0, 2.0])
    scores = scores_of_all(head, Queries(USERS, HISTORIES), items, torch.tensor([[2, 4], [0, 1]])).detach()
    assert scores[0, 2] == scores[0, 0]
    assert scores[1, 2] - scores[1, 0] == pytest.approx(-3)  # only item 2 is in the second history
    assert scores[0, 4] - scores[0, 1] == pytest.approx(5, abs=1e-5)  # both are in the first, 4 before 1
    assert scores[1, 4] == scores[1, 1]


def test_a_bias_needs_the_history():
    with pytest.raises(ValueError, match="pass history_rows"):
        scores_of_all(head_with(history_bias=True), Queries(USERS), ITEMS)


def test_losses():
    head, labels = head_with(), torch.tensor([3, 0])
    scores, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, labels, None, None)
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels))
    candidates = torch.tensor([[1, 3], [0, 2]])
    some, loss = scores_and_loss(head, Queries(USERS), ITEMS, candidates, labels, None, None)
    torch.testing.assert_close(loss, F.cross_entropy(scores.gather(1, candidates), torch.tensor([1, 0])))
    negatives = torch.tensor([[1], [2]])
    some, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, labels, None, negatives)
    assert some is None
    sampled = torch.stack([scores[[0, 1], labels], scores[[0, 1], negatives[:, 0]]], 1)
    torch.testing.assert_close(loss, F.cross_entropy(sampled, torch.zeros(2, dtype=torch.long)))


def test_the_temperature_learns():
    head = head_with(learned_temperature=True)
    _, loss = scores_and_loss(head, Queries(USERS), ITEMS, None, torch.tensor([3, 0]), None, None)
    loss.backward()
    assert head.log_temperature.grad.abs() > 0


def test_items_of_the_history_are_among_the_negatives_if_they_have_a_bias():
    """Each item counts once: as the target, else as an item of the history, else as a negative."""
    head, labels, negatives = head_with(history_bias=True), torch.tensor([4, 0]), torch.tensor([[1, 3], [5, 3]])
    head.history_bias.data.uniform_(-2, 2)
    histories = Histories(torch.tensor([[1, 4, 1, 2], [2, 5, -1, -1]]), torch.tensor([[0, 3], [1, 0]]))
    queries = Queries(USERS, histories)
    _, loss = scores_and_loss(head, queries, ITEMS, None, labels, None, negatives)
    scores = scores_of_all(head, queries, ITEMS)
    first = F.cross_entropy(scores[0, [4, 1, 2, 3]][None], torch.tensor([0]))
    second = F.cross_entropy(scores[1, [0, 2, 5, 3]][None], torch.tensor([0]))  # item 5 comes after the query's place
    torch.testing.assert_close(loss, (first + second) / 2)
    loss.backward()
    assert head.history_bias.grad[:4].all()


ROWS = torch.tensor([[7, 3, 7], [2, -1, -1]])
PLACES = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0]])


def test_every_item_is_there_once_and_the_batch_counts_among_them():
    found = items_of_batch(Histories(ROWS, PLACES), torch.tensor([3, 7, 9, 5]), torch.tensor([9, 0, 0]), None)
    assert found.rows.tolist() == [0, 2, 3, 5, 7, 9]
    assert found.negatives is None
    assert found.histories.rows.tolist() == [[4, 2, 4], [1, -1, -1]]
    assert torch.equal(found.histories.places, PLACES)
    assert found.labels.tolist() == [2, 4, 5, 3]


def two_level():
    model = small_model(
        num_items=10, sequence_head="two_level", item_residuals=True, item_projection=True, history_bias=True,
        head_dropout=0.0, residual_dropout=0.0,
    )  # fmt: skip
    for weight in (model.item_embeddings, model.item_residuals, model.scoring_head.history_bias):
        weight.data.normal_()
    return model.train()


LABELS = torch.tensor([[3, 7, 9], [5, -100, -100]])


def test_the_loss_is_that_of_the_whole_catalogue_without_the_items_left_out():
    model, negatives = two_level(), torch.tensor([9, 0, 0])
    sampled = model(history_rows=ROWS, labels=LABELS, negatives=negatives)
    assert sampled.scores is None
    whole = model(history_rows=ROWS, labels=LABELS)
    left = [0, 2, 3, 5, 7, 9]
    targets = torch.tensor([left.index(row) for row in (3, 7, 9, 5)])
    torch.testing.assert_close(sampled.loss, F.cross_entropy(whole.scores[:, left], targets))
    sampled.loss.backward()
    assert not model.item_residuals.grad[[1, 4, 6, 8]].any()
    assert model.item_residuals.grad[left].any(1).all()


def test_all_items_as_negatives_give_the_full_loss():
    model = two_level()
    sampled = model(history_rows=ROWS, labels=LABELS, negatives=torch.arange(10))
    torch.testing.assert_close(sampled.loss, model(history_rows=ROWS, labels=LABELS).loss)


ITEMS_OF_BATCH = torch.tensor([2, 3, 5, 7, 9])
TEXTS = torch.tensor([[0, 7, 9], [0, 8, 5], [0, 4, 4], [0, 11, 6], [0, 12, 5]])
FREQUENCIES = torch.full((10,), 0.1)
NO_NEGATIVES = torch.zeros(0, dtype=torch.long)


def test_texts_of_the_batch_are_encoded_instead_of_looked_up():
    model = two_level().eval()
    batch = {"history_rows": ROWS, "labels": LABELS, "negatives": NO_NEGATIVES, "frequencies": FREQUENCIES}
    found = model(TEXTS, **batch).loss
    found.backward()
    assert model.recformer.embeddings.word_embeddings.weight.grad[TEXTS.flatten()].any(1).all()
    with torch.no_grad():
        model.item_embeddings[ITEMS_OF_BATCH] = model.recformer(TEXTS).pooler_output
    torch.testing.assert_close(model(**batch).loss, found)


def test_a_text_for_each_item_of_the_batch():
    with pytest.raises(ValueError, match=r"The batch has 5 items .* but input_ids have 4 texts"):
        two_level()(TEXTS[:4], history_rows=ROWS, labels=LABELS, negatives=NO_NEGATIVES)


def test_shared_negatives_must_be_rows_of_the_catalogue():
    with pytest.raises(ValueError, match="negatives"):
        two_level()(history_rows=ROWS, labels=LABELS, negatives=torch.tensor([10]))


def test_a_flat_head_can_share_negatives_too():
    model, tokens, labels = small_model(num_items=10), torch.tensor([[0, 7, 9], [0, 8, 5]]), torch.tensor([3, 5])
    model.item_embeddings.data.normal_()
    model.eval()
    loss = model(tokens, labels=labels, negatives=torch.tensor([1, 3])).loss
    scores = model(tokens).scores[:, [1, 3, 5]]
    torch.testing.assert_close(loss, F.cross_entropy(scores, torch.tensor([1, 2])))


def test_the_loss_subtracts_the_logarithm_of_the_chance_to_be_sampled():
    """Four targets and two sequences are six draws by frequency; the negatives are three uniform ones."""
    frequencies = torch.tensor([0.3, 0.0, 0.1, 0.05, 0.05, 0.2, 0.1, 0.1, 0.05, 0.05])
    found = items_of_batch(Histories(ROWS, PLACES), torch.tensor([3, 7, 9, 5]), torch.tensor([9, 0, 0]), frequencies)
    chances = [1 - (1 - float(frequencies[row])) ** 6 * (8 / 9) ** 3 for row in found.rows]
    torch.testing.assert_close(found.corrections, -torch.tensor(chances).log())
    model = two_level()
    whole = model(history_rows=ROWS, labels=LABELS).scores[:, found.rows]
    sampled = model(history_rows=ROWS, labels=LABELS, negatives=torch.tensor([9, 0, 0]), frequencies=frequencies)
    torch.testing.assert_close(sampled.loss, F.cross_entropy(whole + found.corrections, found.labels))


def test_the_sampled_loss_is_about_that_of_the_catalogue():
    """The mean over many draws, with a catalogue of which few items are in the batch."""
    torch.manual_seed(0)
    scores, frequencies = torch.randn(1, 400), torch.rand(400)
    frequencies /= frequencies.sum()
    target = torch.tensor([7])
    normalisers = []
    for _ in range(2000):
        batch, negatives = torch.multinomial(frequencies, 30, replacement=True), torch.randint(400, (20,))
        found = items_of_batch(None, torch.cat([target, batch[:-2]]), negatives, frequencies)
        normalisers.append((scores[0, found.rows] + found.corrections).exp().sum())
    assert float(torch.stack(normalisers).mean()) == pytest.approx(float(scores.exp().sum()), rel=0.05)


def test_histories_must_be_those_of_the_batch():
    model, tokens = small_model(num_items=10, history_bias=True).eval(), torch.tensor([[0, 7, 9], [0, 8, 5]])
    model.item_embeddings.data.normal_()
    for options in ({}, {"candidates": torch.tensor([[1], [2]])}):
        with pytest.raises(ValueError, match="history_rows are of 1 histories, but the batch has 2"):
            model(tokens, history_rows=torch.tensor([[3, 4]]), **options)


def test_frequencies_of_a_single_item():
    with pytest.raises(ValueError, match="frequencies are above 0 for 1 items; expected at least 2"):
        items_of_batch(None, torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0, 0.0]))
