"""Item dictionaries as the text that tokenizer and catalogue read."""

from __future__ import annotations

import numpy as np

from recformer_hf.items.text import attribute_text, item_attributes


class TestAttributeText:
    def test_values_are_the_texts_that_the_tokenizer_makes(self):
        values = [
            "a",
            "",
            7,
            2.5,
            20.0,
            True,
            np.int64(3),
            np.float32(9.99),
            ["x", "", None, 4],
            (),
            np.array(["p", "q"]),
        ]
        for value in values:
            ours = item_attributes({"key": attribute_text(value), "other": "o"}, 3, "item")
            assert ours == item_attributes({"key": value, "other": "o"}, 3, "item")
