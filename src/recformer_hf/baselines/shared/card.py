"""What the card of a neural baseline says of the model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ...training.publishing.card_text import plain
from ...training.publishing.model_card import RunDescription, dataset_name


class BaselineTexts:
    """[`CardTexts`] of a neural baseline.

    Args:
        name: of the model's class.
        paper: where it is from, as Markdown.
    """

    def __init__(self, name: str, paper: str) -> None:
        self.name, self.paper = name, paper
        self.tags: Sequence[str] = ("recformer-baseline", name.lower())

    def introduction(self, run: RunDescription) -> str:
        names = " and ".join(f"**{plain(dataset_name(dataset))}**" for dataset in run.datasets)
        what = f"A {self.name} ({self.paper})" if self.paper else f"A {self.name}"
        if not run.recommends:
            return f"{what} pretrained on {names}. It has no items of its own: finetune it on a dataset."
        if run.config.only_pretrained:
            return f"{what} pretrained on {names}, whose items it has. Finetune it before it recommends."
        return (
            f"{what} trained on {names}, as a baseline of "
            "[recformer-hf](https://pypi.org/project/recformer-hf/). It reads a user's history as rows of a catalogue "
            f"of {run.config.num_items:,} items and ranks them by how likely each comes next."
        )

    def loading(self, run: RunDescription) -> str:
        name = json.dumps(run.name, ensure_ascii=False)
        lines = [
            f"from recformer_hf.baselines import {self.name}",
            "",
            f"model = {self.name}.from_pretrained({name})  # a repository on the Hub, or this folder",
        ]
        if run.recommends and not run.config.only_pretrained:
            catalog, example = run.datasets[0].catalog, run.example
            ids = [catalog.id_of(row) for row in (example.history if example else [0])]
            lines += [
                f"history = {json.dumps(ids, ensure_ascii=False)}  # oldest first",
                "scores = model.scores([model.catalog.rows_of(history)])[0]",
                "recommended = [model.catalog.id_of(row) for row in scores.topk(10).indices.tolist()]",
            ]
        else:
            lines.append("model.fit(dataset)  # a SequentialDataset")
        return "```python\n" + "\n".join(lines) + "\n```"

    def architecture(self, run: RunDescription) -> str:
        config = run.config
        loss = f", loss `{config.loss}`" if run.recommends else ""
        return (
            f"{run.parameters:,} parameters; width {config.hidden_size}, histories of at most {config.max_length} "
            f"items, dropout {config.dropout}{loss}."
        )


__all__ = ["BaselineTexts"]
