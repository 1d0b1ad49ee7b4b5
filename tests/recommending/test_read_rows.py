import numpy as np
import pytest
import torch

from recformer_hf import RecformerConfig
from recformer_hf.heads.history_items import whole_histories
from recformer_hf.heads.scoring_head import ScoringHead
from recformer_hf.recommending.read_rows import read_rows
from tests.support.models import assert_parity, enliven

CONFIG = RecformerConfig(
    hidden_size=8, num_attention_heads=2, sequence_head="two_level", head_num_attention_heads=2, max_item_embeddings=4
)
HEAD = enliven(ScoringHead(CONFIG)).eval()
ITEMS = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
HISTORIES = [np.array([1, 2]), [8], np.array([0, 1, 2, 3, 4, 5], np.int32), [7, 7, 7], [3]]


@pytest.mark.parametrize("most_places", [1, 4, 8192])
def test_each_history_has_the_vector_that_it_has_alone(most_places):
    vectors = read_rows(HEAD, HISTORIES, ITEMS, most_places)
    assert not vectors.requires_grad
    for vector, history in zip(vectors, HISTORIES, strict=True):
        newest = torch.tensor([list(history)[-3:]])
        assert_parity(vector, HEAD.read(ITEMS, whole_histories(newest))[0].detach(), 1e-6)


def test_no_histories():
    assert read_rows(HEAD, [], ITEMS).shape == (0, 8)
