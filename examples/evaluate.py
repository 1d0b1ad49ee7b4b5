"""Evaluate a checkpoint and simple baselines: every item of the catalogue is ranked for every user.

    # baselines on the invented demo shop; `oracle` knows the probabilities from which choices are drawn
    python examples/evaluate.py --dataset demo:kitchen --baselines popularity markov last_item_text oracle

    # what counting and comparing texts reaches in seconds, alone and together: the line that a model has to pass
    python examples/evaluate.py --dataset shop --protocol both --baselines cooccurrence text_neighbours blend

    # neural baselines: trained on the spot with their own defaults, or by examples/train_baseline.py before
    python examples/evaluate.py --dataset shop --baselines sasrec gru4rec
    python examples/evaluate.py --dataset shop --model sasrec-folder

    # a finetuned checkpoint on its dataset (folders or Hub ids), with and without the history among the candidates
    python examples/evaluate.py --model finetuned --dataset shop --protocol both --baselines markov --output_dir results

    # zero-shot: the checkpoint has never seen this catalogue, so its texts are encoded first; last_item_vectors ranks
    # by the same vectors, with the vector of the last item alone
    python examples/evaluate.py --model pretrained --dataset other-shop --encode_items --baselines last_item_vectors

    # compare with the saved ranking of an earlier run: a paired test over users
    python examples/evaluate.py --model another --dataset shop --compare_with results/model-kept.npz

    # the same numbers on several processes
    accelerate launch --num_processes 4 examples/evaluate.py --model finetuned --dataset shop

The script writes to `--output_dir`: `metrics.json` (everything in `docs/evaluation.md`, including intervals and
breakdowns) and a ranking `<scorer>-<protocol>.npz` for each scorer and protocol. The scorer `model` is the checkpoint.
"""

from __future__ import annotations

from recformer_hf.cli.commands.evaluate import main

if __name__ == "__main__":
    main(prog="evaluate.py")
