"""Two forms of a model together: a history goes through each model once, and the mixture is tested against both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.experiments import two_forms
from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.demo import load_demo_domain
from tests.support.heads import trained
from tests.support.memories import some_memory
from tests.support.shops import shop_tokenizer


def test_the_figures_compare_both_with_each():
    dataset = load_demo_domain("kitchen", num_users=60, num_items=60)
    forms = {"flat": Popularity().fit(dataset), "two-level": Markov().fit(dataset)}
    figures = two_forms.figures_of(dataset, forms)
    assert list(figures) == ["weights", "flat", "two-level", "both", "both minus flat", "both minus two-level"]
    for protocol in ("kept", "excluded"):
        gain = figures["both"][protocol][0] - figures["flat"][protocol][0]
        assert figures["both minus flat"][protocol][0] == pytest.approx(gain, abs=2e-4)


def test_a_history_goes_through_the_model_once(tmp_path, monkeypatch):
    dataset = load_demo_domain("kitchen", num_users=60, num_items=60)
    tokenizer = shop_tokenizer()
    model = trained(dataset.catalog, tokenizer, "two_level")
    model.memory = memory = some_memory(60)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    form = two_forms.Remembered(str(tmp_path), dataset)
    asked = []
    scores_of = form.scorer.scores
    monkeypatch.setattr(form.scorer, "scores", lambda histories: asked.extend(histories) or scores_of(histories))
    histories = [np.array([3, 5], np.int32), np.array([7], np.int32)]
    alone = form.scores(histories)
    assert torch.equal(form.scores(histories[::-1]), alone.flip(0))
    assert len(asked) == 2
    form.with_memory = True
    assert torch.equal(form.scores(histories), memory.mixed(alone.clone(), histories))
    assert len(asked) == 2
