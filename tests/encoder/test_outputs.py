"""The outputs of the models."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.outputs import (
    RecformerForPreTrainingOutput,
    RecformerForSeqRecOutput,
    RecformerModelOutput,
)


@pytest.mark.parametrize("kind", [RecformerModelOutput, RecformerForPreTrainingOutput, RecformerForSeqRecOutput])
def test_a_tuple_holds_what_was_computed(kind):
    name = next(iter(kind.__dataclass_fields__))
    value = torch.zeros(2)
    assert kind().to_tuple() == ()
    assert kind(**{name: value}).to_tuple() == (value,)
    assert kind(**{name: value})[name] is value


def test_the_scores_of_a_recommender_are_its_logits():
    scores = torch.zeros(2, 5)
    output = RecformerForSeqRecOutput(scores=scores)
    assert output.logits is output["logits"] is output["scores"] is output[0] is scores
    assert list(output) == ["scores"]
    assert output.to_tuple() == (scores,)  # once
