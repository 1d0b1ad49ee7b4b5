"""Recommendations for a stream of histories: JSON lines in, JSON lines out.

    python examples/recommend.py --model shop --histories histories.jsonl --output answers.jsonl
    echo '["B01", {"title": "Digital caliper, 150 mm"}]' | python examples/recommend.py --model shop --top_k 3

    # zero-shot: for a catalogue that the checkpoint has never seen, see examples/encode_items.py --save_model

A line is a history, oldest item first: a list of item ids and item dictionaries, or an object with that list under
`history`. Other keys of the object are passed on (`{"user": "u1", "history": ["B01", "B02"]}`). A line of the answer is
that object with `recommendations`, a list of `item_id`, `score` and `attributes`. A line that cannot be answered stops
the run with an error that has its number; with `--on_error report` its answer is an `error`.
"""

from __future__ import annotations

from recformer_hf.cli.commands.recommend import main

if __name__ == "__main__":
    main(prog="recommend.py")
