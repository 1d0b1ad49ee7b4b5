"""What moved a score: the parts of it, and the effects of the items, attributes and words of a history.

```python
>>> from recformer_hf.explaining import explain
>>> print(explain(model, tokenizer, ["B01", "B02"]))  # or model.explain(["B01", "B02"], tokenizer)
```
"""

from .effects import AttributeEffect, ItemEffect, Match, ScorePart, WordEffect
from .explain import explain, explain_top
from .explanation import Explanation

__all__ = [
    "AttributeEffect",
    "Explanation",
    "ItemEffect",
    "Match",
    "ScorePart",
    "WordEffect",
    "explain",
    "explain_top",
]
