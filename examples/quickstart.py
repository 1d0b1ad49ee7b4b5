"""From item texts to recommendations in one page: tokenizer, model, item vectors, scores for a history.

    python examples/quickstart.py                                   # a small model, created here
    python examples/quickstart.py --model my-recformer              # your own checkpoint: a folder or a Hub id
    python examples/quickstart.py --output_dir my-first-recformer   # also save the recommender

The small model has random weights. Its recommendations only show how the parts fit together, and that items with the
same words are close to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import HfArgumentParser, set_seed

from recformer_hf import RecformerConfig, RecformerForSeqRec, RecformerTokenizer

# An invented shop. Attributes may have any names; their order matters.
CATALOG = [
    {"title": "Ember gooseneck kettle 0.9 litre", "brand": "Hearthside", "category": "Kitchen Coffee Tea"},
    {"title": "Ember pour over dripper, ceramic", "brand": "Hearthside", "category": "Kitchen Coffee Tea"},
    {"title": "Paper filters for pour over, 100 pieces", "brand": "Hearthside", "category": "Kitchen Coffee Tea"},
    {"title": "Hand coffee grinder with steel burrs", "brand": "Millwright", "category": "Kitchen Coffee Tea"},
    {"title": "Chef knife 20 cm, carbon steel", "brand": "Northforge", "category": "Kitchen Knives"},
    {"title": "Paring knife 9 cm, carbon steel", "brand": "Northforge", "category": "Kitchen Knives"},
    {"title": "Whetstone 1000/6000 grit", "brand": "Northforge", "category": "Kitchen Knives"},
    {"title": "Trekking tent for two, 1.9 kg", "brand": "Ridgeway", "category": "Outdoor Camping"},
    {"title": "Down sleeping bag, comfort 2 degrees", "brand": "Ridgeway", "category": "Outdoor Camping"},
    {"title": "Gas stove for trekking, 75 g", "brand": "Ridgeway", "category": "Outdoor Camping"},
    {"title": "Titanium mug 450 ml", "brand": "Ridgeway", "category": "Outdoor Camping"},
    {"title": "Trail running shoes, wide fit", "brand": "Fellbound", "category": "Outdoor Running"},
]
HISTORY = [CATALOG[7], CATALOG[4], CATALOG[5]]  # oldest first: a tent, then two knives


@dataclass
class QuickstartArguments:
    model: str | None = field(default=None, metadata={"help": "A checkpoint: a folder or a Hub id."})
    top_k: int = field(default=5, metadata={"help": "Items to recommend."})
    output_dir: str | None = field(default=None, metadata={"help": "Folder to save model and tokenizer in."})
    seed: int = field(default=0, metadata={"help": "Seed of the small model."})


def load_or_create(arguments: QuickstartArguments) -> tuple[RecformerForSeqRec, RecformerTokenizer]:
    if arguments.model:
        model = RecformerForSeqRec.from_pretrained(arguments.model)
        return model.eval(), RecformerTokenizer.from_pretrained(arguments.model)
    set_seed(arguments.seed)
    tokenizer = RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=600, min_frequency=1)
    # With random weights the mean over the tokens reflects the words; the state of <s> ("cls", the default) does not.
    config = RecformerConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        pooler_type="avg",
    )
    return RecformerForSeqRec(config).eval(), tokenizer


def main() -> None:
    (arguments,) = HfArgumentParser(QuickstartArguments).parse_args_into_dataclasses()
    model, tokenizer = load_or_create(arguments)
    model.set_item_embeddings(model.encode_items(CATALOG, tokenizer))
    with torch.no_grad():
        scores = model(**tokenizer(HISTORY, return_tensors="pt")).scores[0]
    scores[[CATALOG.index(item) for item in HISTORY]] = float("-inf")  # do not recommend what was bought

    print("History, oldest first:")
    for item in HISTORY:
        print(f"         {item['title']} ({item['brand']})")
    if not arguments.model:
        print("Recommended by random weights; train or load a model for recommendations that mean something:")
    else:
        print("Recommended:")
    for score, row in zip(*scores.topk(min(arguments.top_k, len(CATALOG) - len(HISTORY))), strict=True):
        print(f"  {score:6.2f} {CATALOG[row]['title']} ({CATALOG[row]['brand']})")
    if arguments.output_dir:
        model.save_pretrained(arguments.output_dir)
        tokenizer.save_pretrained(arguments.output_dir)
        print(f"Saved. RecformerForSeqRec.from_pretrained({arguments.output_dir!r}) loads it, items and all.")


if __name__ == "__main__":
    main()
