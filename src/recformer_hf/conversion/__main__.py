"""The command line `python -m recformer_hf.conversion`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..modeling_recformer import (
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
    RecformerPreTrainedModel,
)
from ..storage.atomic import atomic_folder
from ..tokenization_recformer import RecformerTokenizer
from . import from_replication, from_text_encoder
from .text_encoder import TEXT_ENCODERS

HEADS: dict[str, type[RecformerPreTrainedModel]] = {
    "model": RecformerModel,
    "pretraining": RecformerForPretraining,
    "seqrec": RecformerForSeqRec,
}
"""Classes of the model by their names on the command line."""


def _save(model: RecformerPreTrainedModel, tokenizer: RecformerTokenizer | None, folder: Path) -> None:
    """Writes a checkpoint that appears whole or not at all."""
    with atomic_folder(folder.absolute()) as temporary:
        model.save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)


def _refuse_to_overwrite(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder; nothing was written. Name another folder.")


def command_parser(
    prog: str = "python -m recformer_hf.conversion",
    parser_class: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """The parser of the command line, under any name."""
    parser = parser_class(prog=prog, description="Converts another checkpoint to a Recformer.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{text-encoder,replication}")
    text_encoder = commands.add_parser(
        "text-encoder", help=f"warm start from a text encoder: {', '.join(TEXT_ENCODERS)}"
    )
    text_encoder.add_argument("source", metavar="NAME_OR_PATH", help="Hub id or folder of the encoder")
    replication = commands.add_parser("replication", help="weights file of the public replication (.bin, .pt, .ckpt)")
    replication.add_argument("source", metavar="PATH", help="weights file")
    replication.add_argument("--config", help="its configuration: a folder or config.json (default: the one beside it)")
    replication.add_argument("--tokenizer", help="Hub id or folder of its tokenizer, which is saved too")
    replication.add_argument(
        "--num-attention-heads", type=int, help="number of heads if there is no configuration (default: width / 64)"
    )
    for command in (text_encoder, replication):
        command.add_argument("output", metavar="OUTPUT_DIR", type=Path, help="folder to write, new or empty")
        command.add_argument(
            "--head",
            choices=HEADS,
            help="class of the model (default: pretraining; replication: what the file holds)",
        )
        command.add_argument(
            "--attention-window", type=int, help="width of the window that a token attends to (default: 64)"
        )
        command.add_argument("--max-token-num", type=int, help="most tokens of a sequence (default: 1024)")
        command.add_argument("--pooler-type", choices=("cls", "avg"), help="how a sequence becomes one vector")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see `recformer_hf.conversion`.

    Args:
        arguments: the arguments; by default those of the process.
    """
    options = command_parser().parse_args(arguments)
    try:
        run(options)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


def run(parsed: argparse.Namespace) -> None:
    """Converts, saves and reports.

    Raises:
        OSError, ValueError: if it cannot be done; nothing is written then.
    """
    options = dict(vars(parsed))
    command, source, output = options.pop("command"), options.pop("source"), options.pop("output")
    head = options.pop("head")
    given = {name: value for name, value in options.items() if value is not None}
    if head is not None:
        given["model_class"] = HEADS[head]
    _refuse_to_overwrite(output)  # before anything is downloaded or converted
    if command == "text-encoder":
        model, tokenizer = from_text_encoder(source, **given)
    else:
        converted = from_replication(source, **given)
        model, tokenizer = converted if isinstance(converted, tuple) else (converted, None)
    _save(model, tokenizer, output)
    name, config = type(model).__name__, model.config
    print(
        f"Wrote {output}: a {name} of {config.num_hidden_layers} layers of width {config.hidden_size}, "
        f"{model.num_parameters():,} weights, {config.num_items:,} items."
    )
    print(f'Load it with: {name}.from_pretrained("{output}")')
    if tokenizer is None:
        print("No tokenizer was saved: pass --tokenizer to save one.")
    else:
        print(f'              RecformerTokenizer.from_pretrained("{output}")')


if __name__ == "__main__":
    main()
