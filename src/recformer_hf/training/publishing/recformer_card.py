"""What the card of a Recformer says of the model."""

from __future__ import annotations

from collections.abc import Sequence

from .card_text import plain
from .card_usage import loading_encoder, loading_recommender
from .model_card import RunDescription, dataset_name

PAPER = "https://arxiv.org/abs/2305.13731"


class RecformerTexts:
    """[`CardTexts`] of a Recformer, with or without items."""

    tags: Sequence[str] = ("recformer",)

    def introduction(self, run: RunDescription) -> str:
        base = run.metadata.get("base_model")
        start = f" from [`{base}`](https://huggingface.co/{base})" if base else ""
        names = " and ".join(f"**{plain(dataset_name(dataset))}**" for dataset in run.datasets)
        paper = f"[Recformer]({PAPER}) (Li et al., KDD 2023)"
        if not run.recommends:
            return (
                f"A {paper} pretrained{start} on {names}. It reads items and histories as text and turns them into "
                "vectors. It has no items of its own: finetune it, or encode a catalogue and recommend without "
                "finetuning."
            )
        reads = "a user's history as text"
        if run.config.sequence_head == "two_level":
            reads = "items as text and a user's history as the sequence of its items' vectors,"
        return (
            f"A {paper} finetuned{start} on {names}. It reads {reads} and ranks a catalogue of "
            f"{run.config.num_items:,} items by how likely each comes next. Weights, item vectors, tokenizer and "
            "catalogue are all here."
        )

    def loading(self, run: RunDescription) -> str:
        if not run.recommends:
            return loading_encoder(run.name)
        catalog, example = run.datasets[0].catalog, run.example
        return loading_recommender(run.name, [catalog.id_of(row) for row in (example.history if example else [0])])

    def architecture(self, run: RunDescription) -> str:
        config = run.config
        items = f", {config.num_items * config.hidden_size:,} of them item vectors" if run.recommends else ""
        return (
            f"{run.parameters:,} parameters{items}; {config.num_hidden_layers} layers of width {config.hidden_size}, "
            f"attention window {config.attention_window}, histories of at most {config.max_item_embeddings - 1} items "
            f"and {config.max_token_num} tokens, temperature {config.temperature}."
        )


__all__ = ["RecformerTexts"]
