"""The table of docs/baselines.md: each neural baseline on real domains, with a small grid chosen on validation.

    python -m benchmarks.neural_baselines --folders data --text_encoder all-MiniLM-L6-v2 --output_dir outputs/baselines
    python -m benchmarks.neural_baselines ... --domains scientific --rows sasrec --no_test     # validation alone
    python -m benchmarks.neural_baselines ... --domains toys --settings_of docs/results/neural_baselines.json

`--folders` has one folder for each domain, in the layout of the public replication. The settings of a row are chosen on
the first domain, by validation NDCG@10 with the history kept, and hold for the others; `--settings_of` takes those of
an earlier run. Training sees a copy of the dataset without a test split, and the test split is read once for each row,
after all settings are chosen. Every command is one of `examples/`, and is written to `commands.txt`. Beside it are the
rankings, `validation.json` with every setting that was tried, and `tables.json` with the figures of the table, which
`python -m benchmarks.results_tables --add` adds to the document. The same call again resumes.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from benchmarks.domains import SIMPLE, values
from benchmarks.results_tables import PROTOCOLS, TABLES, markdown
from benchmarks.study import EXAMPLES, Study, machine, reports_of, validation_ndcg

DOMAINS = ("scientific", "toys", "beauty")
WIDER = "hidden_size=128"
TEXT_ENCODER = "text_encoder=TEXT_ENCODER"
ROWS: dict[str, tuple[str, str, list[list[str]]]] = {
    "gru4rec": ("GRU4Rec", "gru4rec", [[], [WIDER, "dropout=0.5"]]),
    "sasrec": ("SASRec", "sasrec", [["dropout=0.5"], [WIDER, "dropout=0.5"]]),
    "sasrec-bce": ("SASRec, one negative (the paper)", "sasrec", [["loss=bce"], ["loss=bce", WIDER, "dropout=0.5"]]),
    "bert4rec": ("BERT4Rec", "bert4rec", [[], [WIDER]]),
    "recguru": ("RecGURU", "recguru", [[], [WIDER]]),
    "fdsa": ("FDSA", "fdsa", [[], [WIDER]]),
    "s3rec": ("S3-Rec", "s3rec", [[], [WIDER]]),
    "zesrec": ("ZESRec", "zesrec", [[TEXT_ENCODER], [TEXT_ENCODER, "whitening=0.5"]]),
    "unisrec": ("UniSRec, text", "unisrec", [[TEXT_ENCODER], [TEXT_ENCODER, "whitening=0.5"]]),
    "unisrec-ids": (
        "UniSRec, text and ids",
        "unisrec",
        [[TEXT_ENCODER, "use_ids=true"], [TEXT_ENCODER, "use_ids=true", "whitening=0.5"]],
    ),
}
"""By key: the name in the table, the baseline, and the settings among which validation chooses."""


class Neural:
    """The rows of the neural baselines, over a folder of runs."""

    def __init__(self, study: Study, options: list[str]) -> None:
        self.study, self.options = study, options

    def run_of(self, domain: str, row: str, setting: list[str]) -> Path:
        """The folder of a trained baseline."""
        study, baseline = self.study, ROWS[row][1]
        name = "-".join([domain, row, *(each.replace("=", "") for each in setting if each != TEXT_ENCODER)])
        settings = [each.replace("TEXT_ENCODER", study.text_encoder) for each in setting]
        return study.run(
            name, "metrics.json", str(EXAMPLES / "train_baseline.py"), "--baseline", baseline, "--dataset",
            str(study.without_test(study.dataset(domain))), "--output_dir", str(study.folder / name),
            "--resume_from_checkpoint", "true", *self.options, *(["--settings", *settings] if settings else []),
        )  # fmt: skip

    def chosen(self, domain: str, row: str) -> list[str]:
        """The setting with the best validation NDCG@10 on a domain; every figure is kept in `validation.json`."""
        found = {" ".join(setting): validation_ndcg(self.run_of(domain, row, setting)) for setting in ROWS[row][2]}
        self.study.write("validation.json", {**self.study.read("validation.json"), f"{domain}-{row}": found})
        return max(ROWS[row][2], key=lambda setting: found[" ".join(setting)])

    def figures(self, domain: str, row: str, setting: list[str]) -> dict[str, Any]:
        """What the table has of a row on a domain. Reads the test split, once."""
        study, run = self.study, self.run_of(domain, row, setting)
        reports = reports_of(study.ranked(run.name, study.dataset(domain), "--model", str(run)))
        with safe_open(run / "model.safetensors", "pt") as weights:
            sizes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 (not a mapping)
        return {
            **cells({each: reports[f"model-{each}"] for each in PROTOCOLS}),
            "seconds": round(study.cpu_seconds.get(run.name, study.seconds[run.name])),
            "parameters": sum(map(math.prod, sizes)),
        }


def settings_of(file: str | None) -> dict[str, list[str]]:
    """The settings that an earlier run chose, by row, from the figures of its table."""
    rows = [] if file is None else json.loads(Path(file).read_text("utf-8"))["neural_baselines"]
    written = {row["row"]: row["settings"].split()[1:] for row in rows if "settings" in row}
    return {
        row: next(each for each in settings if [part for part in each if part != TEXT_ENCODER] == written[name])
        for row, (name, _, settings) in ROWS.items()
        if name in written
    }


def cells(reports: dict[str, Any]) -> dict[str, list[float]]:
    """NDCG@10 and the bounds of its interval under each protocol."""
    return {each: values(reports[each]) for each in PROTOCOLS}


def table_of(neural: Neural, domains: list[str], rows: list[str], chosen: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The figures of all rows: simple baselines first."""
    study = neural.study
    simple = {
        domain: reports_of(study.ranked(f"{domain}-simple", study.dataset(domain), "--baselines", *SIMPLE))
        for domain in domains
    }
    table: list[dict[str, Any]] = [
        {
            "row": shown.strip("*"),
            **{
                domain: cells({each: reports[f"{scorer}-{each}"] for each in PROTOCOLS})
                for domain, reports in simple.items()
            },
        }
        for scorer, shown in SIMPLE.items()
    ]
    for row in rows:
        name, baseline, _ = ROWS[row]
        setting = [each for each in chosen[row] if each != TEXT_ENCODER]
        table.append({
            "row": name, "settings": " ".join([baseline, *setting]),
            **{domain: neural.figures(domain, row, chosen[row]) for domain in domains},
        })  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", required=True, help="folder with one folder for each domain")
    parser.add_argument("--text_encoder", required=True, help="folder or Hub id of the encoder of ZESRec and UniSRec")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="the first chooses the settings")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--settings_of", help="tables.json of an earlier run; the settings of its rows are taken")
    parser.add_argument("--no_test", action="store_true", help="train and choose, but do not read the test split")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of train_baseline.py")
    arguments = parser.parse_args()
    study = Study(arguments.output_dir, arguments.folders, arguments.text_encoder, max_token_num=128)
    neural = Neural(study, arguments.options)
    chosen = settings_of(arguments.settings_of)
    for row in arguments.rows:
        if row not in chosen:
            chosen[row] = neural.chosen(arguments.domains[0], row)
        print(f"{row}: {' '.join(chosen[row]) or 'defaults'}", flush=True)
    for domain in arguments.domains:
        for row in arguments.rows:
            neural.run_of(domain, row, chosen[row])
    if arguments.no_test:
        return
    table = table_of(neural, arguments.domains, arguments.rows, chosen)
    study.write("tables.json", {"neural_baselines": table})
    study.write("results.json", {"settings": vars(arguments), "seconds": study.seconds, **machine()})
    print("\n".join(markdown(TABLES["neural_baselines"](table))))


if __name__ == "__main__":
    main()
