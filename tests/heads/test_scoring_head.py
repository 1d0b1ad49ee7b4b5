import math

import pytest
import torch

from recformer_hf import RecformerConfig
from recformer_hf.heads.history_items import Histories, whole_histories
from recformer_hf.heads.scoring_head import START_SCALE, ScoringHead, whitening


def head_with(**fields):
    config = RecformerConfig(hidden_size=8, num_attention_heads=2, num_items=5, **fields)
    head = ScoringHead(config)
    head.init_weights()
    return head


def test_without_parts_nothing_changes():
    head = head_with()
    embeddings = torch.randn(5, 8)
    assert not list(head.parameters())
    assert head.item_vectors(embeddings, None) is embeddings
    assert head.temperature == 0.05


def test_every_part_starts_without_effect():
    head = head_with(item_projection=True, history_bias=True, learned_temperature=True, temperature=0.07)
    embeddings = torch.randn(5, 8)
    vectors = head.item_vectors(embeddings, torch.zeros(5, 8))
    torch.testing.assert_close(vectors, embeddings / embeddings.norm(dim=1, keepdim=True) * math.sqrt(8))
    assert not head.history_bias.any()
    assert float(head.temperature.detach()) == pytest.approx(0.07)
    assert head.temperature_now == pytest.approx(0.07)


def test_a_projection_to_another_width_starts_orthogonal():
    head = head_with(item_projection=True, sequence_head="two_level", head_size=4)
    product = head.projection.weight @ head.projection.weight.T
    torch.testing.assert_close(product, torch.eye(4))


def test_vectors_are_projected_texts_plus_residuals():
    head = head_with(item_projection=True)
    torch.nn.init.normal_(head.projection.weight)
    embeddings, residuals = torch.randn(5, 8) * 3, torch.randn(5, 8)
    scaled = embeddings / embeddings.norm(dim=1, keepdim=True) * math.sqrt(8)
    expected = scaled @ head.projection.weight.T + head.projection.bias + residuals
    torch.testing.assert_close(head.item_vectors(embeddings, residuals), expected)


def test_dropped_residuals_leave_the_text():
    head = head_with(residual_dropout=0.5)
    embeddings, residuals = torch.randn(400, 8), torch.full((400, 8), 100.0)
    torch.manual_seed(0)
    vectors = head.item_vectors(embeddings, residuals, drop_residuals=True)
    dropped = vectors[:, 0] < 50
    assert 140 < int(dropped.sum()) < 260
    scaled = embeddings / embeddings.norm(dim=1, keepdim=True) * math.sqrt(8)
    torch.testing.assert_close(vectors[dropped], scaled[dropped])
    torch.testing.assert_close(vectors[~dropped], head.item_vectors(embeddings, residuals)[~dropped])


@pytest.mark.parametrize("width", [8, 3])
def test_whitening(width):
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(500, 8) * torch.logspace(0, -1, 8) + 0.3, dim=1)
    weight, bias = whitening(embeddings * 7, width, power=0.5)
    images = embeddings * math.sqrt(8) @ weight.T + bias
    torch.testing.assert_close(images.mean(0), torch.zeros(width), atol=1e-4, rtol=0)
    covariance = torch.cov(images.T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(width), atol=0.02, rtol=0)


def test_partial_whitening_takes_the_variance_to_a_power():
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(500, 8) * torch.logspace(0, -0.5, 8), dim=1)
    weight, bias = whitening(embeddings, 4, power=0.25)
    scaled = embeddings * math.sqrt(8)
    before = torch.linalg.eigvalsh(torch.cov(scaled.T, correction=0)).flip(0)[:4]
    after = torch.var(scaled @ weight.T + bias, dim=0, correction=0)
    torch.testing.assert_close(after / after[0], (before / before[0]).sqrt(), atol=1e-3, rtol=0)
    assert float((scaled @ weight.T + bias).square().mean()) == pytest.approx(1, abs=1e-4)


def test_whitening_to_the_same_width_keeps_directions_in_place():
    torch.manual_seed(0)
    embeddings = torch.randn(300, 8)
    weight, _ = whitening(embeddings, 8)
    assert (weight.diagonal() > 0.9).all()
    torch.testing.assert_close(weight, weight.T)


def test_equal_vectors_are_whitened_to_zero():
    weight, bias = whitening(torch.ones(5, 8), 8)
    assert torch.isfinite(weight).all()
    torch.testing.assert_close(torch.ones(8) @ weight.T + bias, torch.zeros(8), atol=1e-3, rtol=0)


def test_reading_a_long_history_reads_its_newest_items():
    head = head_with(sequence_head="two_level", head_num_attention_heads=2, max_item_embeddings=4, head_dropout=0.0)
    items, rows = torch.randn(5, 8), torch.tensor([[0, 1, 2, 3, 4], [3, 1, -1, -1, -1]])
    vectors = head.read(items, whole_histories(rows))
    torch.testing.assert_close(vectors[:1], head.read(items, whole_histories(rows[:1, 2:])))
    torch.testing.assert_close(vectors[1:], head.read(items, whole_histories(rows[1:, :2])))


def test_start_from_sets_the_projection():
    head = head_with(item_projection=True)
    embeddings = torch.randn(50, 8)
    head.start_from(embeddings)
    weight, bias = whitening(embeddings, 8)
    assert torch.equal(head.projection.weight, weight * START_SCALE)
    assert torch.equal(head.projection.bias, bias * START_SCALE)


def test_whether_a_projection_is_new():
    assert not head_with().projection_is_new
    for fields in ({}, {"sequence_head": "two_level", "head_size": 4}, {"sequence_head": "two_level", "head_size": 12}):
        head = head_with(item_projection=True, **fields)
        assert head.projection_is_new
        head.start_from(torch.randn(50, 8)) if head.projection.out_features <= 8 else None
        with torch.no_grad():
            head.projection.weight[0, 0] += 0.01
        assert not head.projection_is_new


def test_histories_of_all_lengths_are_read_as_each_alone():
    head = head_with(sequence_head="two_level", head_dropout=0.0)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    items, lengths = torch.randn(5, 8), [3, 17, 1, 9, 4, 40, 5]
    rows = torch.full((7, 40), -1)
    for row, length in enumerate(lengths):
        rows[row, :length] = torch.randint(5, (length,))
    places = torch.tensor([[1, 16], [0, 2], [5, 39], [1, 3], [2, 0], [3, 8], [4, 1], [6, 4], [5, 0]])
    found = head.read(items, Histories(rows, places))
    for vector, (owner, newest) in zip(found, places.tolist(), strict=True):
        alone = head.read(items, Histories(rows[owner : owner + 1, : newest + 1], torch.tensor([[0, newest]])))
        torch.testing.assert_close(vector, alone[0])
    torch.testing.assert_close(found, head._read_padded(items, Histories(rows, places)))


def test_the_temperature_is_that_of_the_configuration_until_it_is_learned():
    config = RecformerConfig(hidden_size=8, num_attention_heads=2, num_items=5)
    head = ScoringHead(config)
    config.temperature = 0.2
    assert head.temperature == head.temperature_now == 0.2
