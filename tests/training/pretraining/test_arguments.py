"""training/pretraining/arguments.py: the defaults, and what is refused."""

from __future__ import annotations

import pytest
from transformers import HfArgumentParser

from recformer_hf.training import RecformerPretrainingArguments
from tests.support.pretraining import pretraining_arguments


@pytest.mark.parametrize(
    "settings",
    [{"mlm_probability": 1.0}, {"patience": 0}, {"contrastive_chunk_size": 0}, {"zero_shot_splits": ["train"]}],
)
def test_arguments_out_of_range(tmp_path, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        pretraining_arguments(tmp_path, **settings)


def test_the_defaults_are_the_papers():
    (args,) = HfArgumentParser(RecformerPretrainingArguments).parse_args_into_dataclasses(["--output_dir", "run"])
    assert (args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs) == (5e-5, 64, 32)
    assert (args.patience, args.mlm_probability, args.freeze_word_embeddings) == (5, 0.15, True)
