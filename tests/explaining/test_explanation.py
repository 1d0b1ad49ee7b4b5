"""What an explanation shows itself as."""

from __future__ import annotations

import pytest

from recformer_hf.explaining.html import page_of
from recformer_hf.explaining.table import table_of
from tests.support.explanations import by_hand


def test_text_html_and_figure():
    explanation = by_hand()
    assert str(explanation) == table_of(explanation)
    assert repr(explanation) == "Explanation('Blue pan', score=3.0000, 2 items)"
    assert explanation.to_html() == explanation._repr_html_() == page_of(explanation, False)
    assert explanation.to_html(full_page=True) == page_of(explanation, True)
    pytest.importorskip("matplotlib", reason="plots are an extra")
    assert len(explanation.plot(1).axes[1].patches) == 1
