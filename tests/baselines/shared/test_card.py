"""baselines/shared/card.py: what the card says of a model without items; runs with items are in test_trainer.py."""

from __future__ import annotations

from types import SimpleNamespace

from recformer_hf.baselines.shared.card import BaselineTexts
from tests.support.neural_baselines import small_baseline
from tests.support.training import small_dataset

TEXTS = BaselineTexts("SASRec", "[a paper](https://example.org)")
RUN = SimpleNamespace(
    datasets=[small_dataset(), small_dataset(num_items=50)], recommends=False, name="someone/model", example=None,
    parameters=12345, config=small_baseline("sasrec").config,
)  # fmt: skip


def test_a_pretrained_model():
    text = TEXTS.introduction(RUN)
    assert text.startswith("A SASRec ([a paper](https://example.org)) pretrained on **")
    assert text.count("**") == 4
    assert 'SASRec.from_pretrained("someone/model")' in TEXTS.loading(RUN)
    assert "model.fit(dataset)" in TEXTS.loading(RUN)
    assert TEXTS.architecture(RUN) == "12,345 parameters; width 16, histories of at most 6 items, dropout 0.2."
    assert list(TEXTS.tags) == ["recformer-baseline", "sasrec"]


def test_a_pretrained_model_with_items():
    config = small_baseline("sasrec", only_pretrained=True).config
    run = SimpleNamespace(**{**vars(RUN), "recommends": True, "config": config})
    assert "pretrained on **" in TEXTS.introduction(run)
    assert TEXTS.introduction(run).endswith("Finetune it before it recommends.")
    assert "model.fit(dataset)" in TEXTS.loading(run)


def test_a_model_without_a_paper():
    assert BaselineTexts("Own", "").introduction(RUN).startswith("A Own pretrained on")
