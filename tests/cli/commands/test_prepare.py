"""recformer prepare from the command line to the folder: every reader and split, and what happens when it
goes wrong."""

from __future__ import annotations

import errno
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from recformer_hf.data import dataset as dataset_module
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.export_files import export_recbole
from recformer_hf.data.recipes import get_recipe
from tests.support.data_sources import (
    DAY,
    ITEMS,
    LOG,
    purchases,
    write_amazon,
    write_category,
    write_csv,
    write_lines,
    write_movielens,
)


@pytest.fixture
def amazon(tmp_path):
    """Arguments of an Amazon source."""
    reviews, metadata = write_amazon(tmp_path / "raw", "2018", purchases())
    return ["--source", "amazon", "--reviews", str(reviews), "--metadata", str(metadata)]


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def failure(script, arguments: list[str]) -> str:
    """The one line that a failing run leaves on the screen."""
    with pytest.raises(SystemExit) as error:
        script.main(arguments)
    message = str(error.value)
    assert message.startswith("recformer prepare: ")
    assert "\n" not in message
    return message


# Sources


def test_a_dataset_is_named_after_its_folder_unless_told_otherwise(script, amazon, tmp_path):
    script.main([*amazon, "--output_dir", str(tmp_path / "lights")])
    assert SequentialDataset.load(tmp_path / "lights").info["name"] == "lights"


def test_amazon_to_a_folder_and_a_table_on_the_screen(script, amazon, tmp_path, capsys):
    script.main([*amazon, "--output_dir", str(tmp_path / "out"), "--name", "lanterns"])
    dataset = SequentialDataset.load(tmp_path / "out")
    assert (len(dataset.train), len(dataset.catalog)) == (30, 12)
    assert dataset.info["name"] == "lanterns"
    assert dataset.catalog[0] == {"title": "Lantern 0", "brand": "Brand 0", "category": "Garden Lights"}
    shown = capsys.readouterr().out
    assert "users" in shown
    assert "mean length" in shown
    assert "rows: train 30, validation 30, test 30" in shown
    assert "Leave-one-out" in shown
    assert f"written to {tmp_path / 'out'}" in shown


def test_tables(script, tmp_path):
    log = write_csv(tmp_path / "log.csv", ["who", "what", "when"], purchases())
    items = write_lines(tmp_path / "i.jsonl", [json.dumps({"sku": i, "name": a["title"]}) for i, a in ITEMS.items()])
    arguments = ["--source", "table", "--interactions", str(log), "--items", str(items), "--user_column", "who"]
    arguments += ["--item_column", "what", "--timestamp_column", "when", "--items_id_column", "sku"]
    script.main([*arguments, "--attributes", "name", "--output_dir", str(tmp_path / "out")])
    assert SequentialDataset.load(tmp_path / "out").catalog[3] == {"name": "Lantern 3"}


class TestTables:
    """Options of --source table, on `purchases`."""

    @pytest.fixture
    def table(self, tmp_path):
        """Writes a log of rows and the items; gives the arguments that read them."""

        def arguments(name, header, rows, delimiter=","):
            log = write_csv(tmp_path / name, header, rows, delimiter)
            items = write_csv(tmp_path / "i.csv", ["item_id", "title"], [(i, a["title"]) for i, a in ITEMS.items()])
            source = ["--source", "table", "--interactions", str(log), "--items", str(items)]
            return [*source, "--output_dir", str(tmp_path / "out")]

        return arguments

    @pytest.fixture
    def expected(self, script, table, tmp_path):
        script.main([*table("plain.csv", ["user_id", "item_id", "timestamp"], purchases()), "--overwrite"])
        (tmp_path / "out").rename(tmp_path / "expected")
        return SequentialDataset.load(tmp_path / "expected")

    def test_delimiter_and_no_header(self, script, table, tmp_path, expected):
        rows = purchases()
        arguments = table("log.txt", rows[0], rows[1:], "\t")
        names = ["--names", "user_id", "item_id", "timestamp"]
        for tab in ("tab", "\\t"):
            script.main([*arguments, "--delimiter", tab, *names, "--overwrite"])
            assert SequentialDataset.load(tmp_path / "out") == expected

    def test_several_files_and_patterns(self, script, table, tmp_path, expected):
        header, rows = ["user_id", "item_id", "timestamp"], purchases()
        arguments = table("log-1.csv", header, rows[:50])
        write_csv(tmp_path / "log-2.csv", header, rows[50:])
        files = [str(tmp_path / "log-1.csv"), str(tmp_path / "log-2.csv")]
        for given in (files, [str(tmp_path / "log-*.csv")]):
            script.main([*arguments[:2], "--interactions", *given, *arguments[4:], "--overwrite"])
            assert SequentialDataset.load(tmp_path / "out") == expected

    def test_encoding_quote_and_format(self, script, table, tmp_path, expected):
        rows = [(u, i, datetime.fromtimestamp(t, timezone.utc).strftime("%d.%m.%Y %H:%M")) for u, i, t in purchases()]
        arguments = table("log.csv", ["user_id", "item_id", "timestamp"], rows, ";")
        (tmp_path / "i.csv").write_text((tmp_path / "i.csv").read_text().replace(",", ";"))
        lines = (tmp_path / "log.csv").read_text().splitlines()
        quoted = [";".join(f"'{field}'" for field in line.split(";")) for line in lines]
        (tmp_path / "log.csv").write_text("\n".join(quoted), "cp1252")
        more = ["--delimiter", ";", "--encoding", "cp1252", "--quote", "'", "--timestamp_format", "%d.%m.%Y %H:%M"]
        script.main([*arguments, *more])
        assert SequentialDataset.load(tmp_path / "out") == expected

    def test_ratings(self, script, table, tmp_path, expected, capsys):
        rows = [(*row, 5) for row in purchases()] + [("U00", "B001", 5, 2), ("U00", "B001", 6, "")]
        arguments = table("log.csv", ["user_id", "item_id", "timestamp", "stars"], rows)
        script.main([*arguments, "--rating_column", "stars", "--min_rating", "3"])
        assert SequentialDataset.load(tmp_path / "out") == expected
        assert "ratings below the minimum 1, ratings missing 1" in capsys.readouterr().out

    def test_without_times(self, script, table, tmp_path, expected, capsys):
        rows = [(user, item) for user, item, _ in sorted(purchases(), key=lambda row: row[2])]
        arguments = table("log.csv", ["user_id", "item_id"], rows)
        script.main([*arguments, "--no_times"])
        found = SequentialDataset.load(tmp_path / "out")
        assert found == expected
        assert "which have no times" in capsys.readouterr().out
        assert "needs times" in failure(script, [*arguments, "--no_times", "--split", "temporal", "--overwrite"])

    def test_recbole(self, script, tmp_path, expected):
        export_recbole(expected, tmp_path / "shop")
        log, items = tmp_path / "shop" / "shop.inter", tmp_path / "shop" / "shop.item"
        files = ["--interactions", str(log), "--items", str(items)]
        script.main(["--source", "table", *files, "--output_dir", str(tmp_path / "out")])
        assert SequentialDataset.load(tmp_path / "out") == expected

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--no_times", "--timestamp_unit", "ms"], "--timestamp_unit would have no effect with --no_times"),
            (["--no_times", "--no_check_times"], "--check_times would have no effect with --no_times"),
            (["--rating_column", "stars"], "--rating_column would have no effect with no --min_rating"),
            (["--timestamp_format", "%Y", "--timestamp_unit", "ms"], "no effect with --timestamp_format"),
            (["--min_rating", "3"], "has no column 'rating'; its columns are"),
            (["--timestamp_column", "date"], "has no column 'date'; its columns are"),
            (["--timestamp_unit", "ms"], "log.csv: All times of 'timestamp' lie in January 1970"),
            (["--timestamp_unit", "ms"], "If the times are right, pass --no_check_times."),
            (["--min_rating", "9e9", "--rating_column", "timestamp"], "ratings below the minimum 180"),
            (["--max_damaged", "2"], "max_damaged is 2.0; expected a share from 0 to 1"),
            (["--max_damaged", "nan"], "max_damaged is nan"),
            (["--quote", "''"], "quote is"),
            (["--encoding", "utf-99"], "utf-99"),
            (["--names", "user_id"], "has no column 'item_id', 'timestamp'; its columns are 'user_id'"),
            (["--no_times", "--ties", "item_id"], "has no times"),
            (["--source", "amazon"], "--interactions, --items would have no effect with --source amazon"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, script, table, tmp_path, more, message):
        late = [(user, item, 40 * time) for user, item, time in purchases()]
        arguments = table("log.csv", ["user_id", "item_id", "timestamp"], late)
        assert message in failure(script, [*arguments, *more])
        assert not (tmp_path / "out").exists()


def test_amazons_ratings_alone_and_more_text(script, tmp_path):
    _, metadata = write_amazon(tmp_path / "raw", "2018", purchases())
    rows = [(item, user, 5.0, time) for user, item, time in purchases()]
    (tmp_path / "ratings.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    arguments = ["--source", "amazon", "--reviews", str(tmp_path / "ratings.csv"), "--metadata", str(metadata)]
    texts = ["--attributes", "title", "description", "features"]
    script.main([*arguments, *texts, "--min_rating", "4", "--output_dir", str(tmp_path / "out")])
    assert SequentialDataset.load(tmp_path / "out").catalog[0] == {"title": "Lantern 0"}


def test_movielens(script, tmp_path):
    write_movielens(tmp_path / "ml", "1m")
    rows = [f"{user}::{movie}::5::{100 + step}" for user in range(6) for step, movie in enumerate((1, 2, 3, 1, 2))]
    write_lines(tmp_path / "ml" / "ratings.dat", rows)
    script.main(["--source", "movielens", "--folder", str(tmp_path / "ml"), "--output_dir", str(tmp_path / "out")])
    assert len(SequentialDataset.load(tmp_path / "out").catalog) == 3


def test_the_replications_folder_keeps_its_splits(script, tmp_path):
    folder = tmp_path / "Tiny"
    folder.mkdir()
    content = {
        "meta_data": {"a": {"title": "A"}, "b": {"title": "B"}}, "smap": {"a": 0, "b": 1}, "umap": {"u": 0},
        "train": {"0": [0, 1]}, "val": {"0": [1]}, "test": {"0": [0]},
    }  # fmt: skip
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value), "utf-8")
    source = ["--source", "replication", "--folder", str(folder), "--output_dir", str(tmp_path / "out")]
    script.main(source)
    assert SequentialDataset.load(tmp_path / "out").test.targets.tolist() == [0]
    message = failure(script, [*source, "--overwrite", "--split", "temporal", "--short_users", "drop"])
    assert "--short_users, --split would have no effect with --source replication" in message
    assert "--ties would have no effect" in failure(script, [*source, "--overwrite", "--ties", "file"])


# Splits


@pytest.mark.parametrize(
    ("arguments", "protocol"),
    [
        (["--split", "leave_one_out", "--short_users", "drop"], "Leave-one-out"),
        (["--split", "temporal"], "Temporal"),
        (["--split", "temporal", "--validation_from", "1970-05-01", "--test_from", "1970-05-08"], "before 1970-05-01"),
        (["--split", "temporal", "--temporal_targets", "all"], "every interaction"),
        (["--split", "users_held_out", "--validation_share", "0.2", "--test_share", "0.2"], "Users held out"),
        (["--low_resource_share", "0.1"], "Low resource: 10%"),
    ],
)
def test_splits(script, amazon, tmp_path, arguments, protocol):
    script.main([*amazon, *arguments, "--output_dir", str(tmp_path / "out")])
    assert protocol in SequentialDataset.load(tmp_path / "out").info["protocol"]


def test_cold_items_are_two_datasets_in_one_folder(script, amazon, tmp_path, capsys):
    arguments = [*amazon, "--split", "cold_item", "--held_out_share", "0.2", "--output_dir", str(tmp_path / "out")]
    script.main(arguments)
    in_set, cold = (SequentialDataset.load(tmp_path / "out" / part) for part in ("in_set", "cold"))
    assert in_set.train == cold.train
    assert len(in_set.test) + len(cold.test) == 30
    assert "in_set" in capsys.readouterr().out
    assert "not empty" in failure(script, arguments)
    script.main([*arguments, "--overwrite"])


def test_the_same_input_gives_the_same_bytes(script, amazon, tmp_path):
    amazon = [*amazon, "--name", "x"]
    for name in ("a", "b"):
        script.main([*amazon, "--low_resource_share", "0.5", "--output_dir", str(tmp_path / name)])
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b
    script.main([*amazon, "--low_resource_share", "0.5", "--seed", "1", "--output_dir", str(tmp_path / "c")])
    assert (tmp_path / "c" / "train.parquet").read_bytes() != a["train.parquet"]


# Recipes


@pytest.mark.parametrize("ending", ["_5.json.gz", ".json.gz"])
def test_a_recipe_prints_the_papers_counts_beside_what_came_out(script, tmp_path, capsys, ending):
    write_category(tmp_path, "Industrial_and_Scientific", ending)
    arguments = ["--recipe", "paper-scientific", "--folder", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    script.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    (ours,), (papers,) = ([line.split() for line in lines if line.startswith(who)] for who in ("this", "the paper"))
    assert ours[2:5] == ["30", "12", "180"]
    assert papers[2:] == ["11,041", "5,327", "76,896", "6.96", "1.31e-03"]
    dataset = SequentialDataset.load(tmp_path / "out")
    assert dataset.info["name"] == "paper-scientific"
    assert dataset.info["paper"]["users"] == 11_041
    assert "--max_history would have no effect" in failure(script, [*arguments, "--overwrite", "--max_history", "3"])


def test_pretraining_trains_on_seven_categories_and_validates_on_an_eighth(script, tmp_path):
    recipe = get_recipe("paper-pretraining")
    for category in (*recipe.categories, *recipe.validation_categories):
        write_category(tmp_path, category)
    script.main(["--recipe", recipe.name, "--folder", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    dataset = SequentialDataset.load(tmp_path / "out")
    assert len(dataset.train) == 7 * 30
    assert len(dataset.validation) == 30
    assert dataset.test is None
    assert len(dataset.catalog) == 12  # the invented categories share their items
    assert dataset.validation[0].user_id == "U00/CDs_and_Vinyl"


def test_a_recipe_names_every_missing_file_and_where_to_get_it(script, tmp_path):
    write_category(tmp_path, "Electronics")
    message = failure(script, ["--recipe", "paper-pretraining", "--folder", str(tmp_path), "--output_dir", "x"])
    assert "Automotive_5.json.gz, meta_Automotive.json.gz" in message
    assert "meta_CDs_and_Vinyl.json.gz" in message
    assert "Electronics" not in message
    assert "McAuley" in message
    assert "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/" in message


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either --source"),
        (["--source", "amazon"], "--source amazon needs --reviews and --metadata"),
        (["--source", "table"], "needs --interactions and --items"),
        (["--source", "movielens"], "needs --folder"),
        (["--recipe", "paper-pet"], "needs --folder"),
        (["--source", "movielens", "--folder", "nowhere"], "not a MovieLens folder"),
        (["--source", "movielens", "--reviews", "x"], "--reviews would have no effect with --source movielens"),
        (["--source", "amazon", "--test_from", "2018"], "--test_from would have no effect with --split leave_one_out"),
        (["--source", "amazon", "--reviews", "a.gz", "--metadata", "b.gz"], "No file a.gz"),
    ],
)
def test_wrong_arguments_are_one_line(script, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in failure(script, [*arguments, "--output_dir", "out"])
    assert files_under(tmp_path) == []


def test_there_must_be_somewhere_to_write_to(script, amazon):
    assert "--output_dir, --push_to_hub" in failure(script, amazon)


def test_a_folder_in_use_is_refused_before_anything_is_read(script, amazon, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    monkeypatch.setattr(script, "read", lambda arguments: pytest.fail("read"))
    assert "not empty" in failure(script, [*amazon, "--output_dir", str(tmp_path / "out")])
    assert files_under(tmp_path / "out") == ["notes.txt"]


@pytest.mark.parametrize(
    ("log", "more", "message"),
    [
        (LOG, [], "Nothing is left of 30 interactions"),
        ([("U", "strange", DAY)], ["--min_user_interactions", "1"], "1 were of unknown items"),
        ([("U", "strange", DAY)], ["--unknown_items", "error"], "1 of the log's 1 items are not in"),
        (purchases(), ["--min_user_interactions", "0"], "min_user_interactions is 0"),
        (purchases(), ["--split", "cold_item"], "No cold test row"),
        (purchases(), ["--split", "temporal", "--test_from", "soon"], "test_from is 'soon'"),
    ],
)
def test_data_that_cannot_become_a_dataset_leave_nothing_behind(script, tmp_path, log, more, message):
    reviews, metadata = write_amazon(tmp_path / "raw", "2018", log)
    before = files_under(tmp_path)
    arguments = ["--source", "amazon", "--reviews", str(reviews), "--metadata", str(metadata)]
    assert message in failure(script, [*arguments, *more, "--output_dir", str(tmp_path / "out")])
    assert files_under(tmp_path) == before


@pytest.mark.parametrize("split", ["leave_one_out", "cold_item"])
def test_a_full_disk_leaves_nothing_behind_and_an_old_dataset_as_it_was(script, amazon, tmp_path, monkeypatch, split):
    share = ["--held_out_share", "0.2"] if split == "cold_item" else []
    arguments = [*amazon, "--split", split, *share, "--output_dir", str(tmp_path / "out")]
    before = files_under(tmp_path)

    def write_until_full(sequences, path):
        path.write_bytes(b"half")
        if path.name == "test.parquet":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as full:
        full.setattr(dataset_module, "write_sequences", write_until_full)
        assert "No space left on device" in failure(script, arguments)
        assert files_under(tmp_path) == before
    script.main(arguments)
    written = files_under(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(dataset_module, "write_sequences", write_until_full)
        assert "No space left on device" in failure(script, [*arguments, "--overwrite"])
    assert files_under(tmp_path) == written


def test_an_interrupted_run_leaves_nothing_and_the_next_one_starts_clean(script, amazon, tmp_path, monkeypatch, capsys):
    arguments = [*amazon, "--output_dir", str(tmp_path / "out")]
    before = files_under(tmp_path)

    def interrupt(sequences, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(dataset_module, "write_sequences", interrupt)
        with pytest.raises(SystemExit) as stopped:
            script.main(arguments)
    assert stopped.value.code == 130
    assert "recformer prepare: stopped. Nothing was written." in capsys.readouterr().err
    assert files_under(tmp_path) == before
    script.main(arguments)
    assert len(SequentialDataset.load(tmp_path / "out").train) == 30


def test_push_to_hub_uploads_every_part_under_a_name_of_its_own(script, amazon, monkeypatch):
    pushed = []
    monkeypatch.setattr(
        SequentialDataset, "push_to_hub", lambda self, repo_id, private: pushed.append((repo_id, private))
    )
    script.main([*amazon, "--push_to_hub", "me/lanterns", "--private"])
    script.main([*amazon, "--push_to_hub", "me/lanterns", "--split", "cold_item", "--held_out_share", "0.2"])
    assert pushed == [("me/lanterns", True), ("me/lanterns-in-set", False), ("me/lanterns-cold", False)]
