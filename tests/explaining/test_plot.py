"""The figure of an explanation."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from recformer_hf.explaining import ItemEffect
from recformer_hf.explaining.plot import figure_of
from tests.support.explanations import by_hand


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def test_by_hand():
    pytest.importorskip("matplotlib", reason="plots are an extra")
    above, below = figure_of(by_hand()).axes
    assert labels(above) == ["text similarity", "memory"]
    assert [bar.get_width() for bar in above.patches] == [2.0, 1.0]
    assert labels(below) == ["1. Pan", "0. Blue wok"]  # the newest above
    assert [bar.get_width() for bar in below.patches] == [-0.25, 2.0]
    assert [bool(bar.get_hatch()) for bar in below.patches] == [True, False]
    assert "Blue pan: score 3.000" in above.get_title(loc="left")


def test_of_many_items_those_that_matter():
    pytest.importorskip("matplotlib", reason="plots are an extra")
    items = tuple(ItemEffect(place, f"$k_{place}", "all", (-1) ** place * place, {}) for place in range(30))
    figure = figure_of(replace(by_hand(), items=items), most_items=3)
    assert labels(figure.axes[1]) == [r"29. \$k_29", r"28. \$k_28", r"27. \$k_27"]
    assert "27 more items" in figure.axes[1].get_title(loc="left")
    figure.savefig(io.BytesIO())  # a "$" begins no formula


def test_a_wrong_number():
    for wrong in (0, True, 2.5):
        with pytest.raises(ValueError, match="most_items must be a whole number of at least 1, got"):
            figure_of(by_hand(), wrong)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install recformer-hf\[train\]"):
        by_hand().plot()
