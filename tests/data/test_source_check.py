"""Sources made by hand: types become those that `Source` documents, and what cannot is named with column and row."""

from __future__ import annotations

import datetime as dt
import decimal

import polars as pl
import pytest

from recformer_hf.data.preparation import prepare
from recformer_hf.data.readers.source import DataError, MissingColumnsError, ReadReport, Source
from recformer_hf.data.source_check import checked_source

TIMES = [1_500_000_000 + 60 * row for row in range(12)]
START = dt.datetime(2017, 7, 14, 2, 40)


def hand_made(**columns) -> Source:
    """Two users of six interactions with three items; `columns` replaces some."""
    log = {"user_id": ["u"] * 6 + ["v"] * 6, "item_id": ["1", "2", "3"] * 4, "timestamp": TIMES}
    items = {"item_id": ["1", "2", "3"], "title": ["A", "B", "C"]}
    for name, values in columns.items():
        table, name = (items, name.removeprefix("items_")) if name.startswith("items_") else (log, name)
        table[name] = values
    return Source(pl.DataFrame(log, strict=False), pl.DataFrame(items, strict=False), ReadReport("by hand"))


def prepared(source: Source):
    return prepare(source, min_user_interactions=1, min_item_interactions=1)


def test_a_readers_source_is_not_copied():
    source = hand_made()
    assert checked_source(source) is source


@pytest.mark.parametrize(
    "times",
    [
        [float(time) for time in TIMES],
        [time + 0.75 for time in TIMES],
        [START + dt.timedelta(minutes=row) for row in range(12)],
        [(START + dt.timedelta(minutes=row)).replace(tzinfo=dt.timezone.utc) for row in range(12)],
        pl.Series([START + dt.timedelta(minutes=row) for row in range(12)], dtype=pl.Datetime("ns")),
        [str(START + dt.timedelta(minutes=row)) for row in range(12)],
        pl.Series(TIMES, dtype=pl.UInt32),
    ],
    ids=["whole floats", "fractions", "datetimes", "with a zone", "nanoseconds", "text", "unsigned"],
)
def test_typed_times_become_whole_seconds(times):
    found = prepared(hand_made(timestamp=times))
    assert found.timestamps.dtype == "int64"
    assert found.timestamps.tolist() == prepared(hand_made()).timestamps.tolist() == TIMES


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"timestamp": [None, *TIMES[1:]]}, "1 of 12 values of 'timestamp' in interactions .* missing in row 0"),
        ({"timestamp": [*TIMES[:3], float("nan"), *TIMES[4:]]}, "the first: nan in row 3"),
        ({"timestamp": [float(t) for t in TIMES[:11]] + [float("inf")]}, "the first: inf in row 11"),
        ({"timestamp": [time * 1000 for time in TIMES]}, "12 of 12 values of 'timestamp' .* 1970 to 2100: seconds"),
        ({"timestamp": [-1, *TIMES[1:]]}, "the first: -1 in row 0"),
        ({"timestamp": [dt.timedelta(1)] * 12}, r"column type Duration"),
        ({"timestamp": ["yesterday", *map(str, TIMES[1:])]}, "the first: 'yesterday' in row 0"),
        ({"timestamp": [None] * 12}, "12 of 12 values of 'timestamp'"),
        ({"timestamp": [True] * 12}, "column type Boolean"),
        ({"user_id": [None, *["u"] * 11]}, "1 of 12 values of 'user_id' in interactions .* missing in row 0"),
        ({"user_id": ["", *["u"] * 11]}, "'user_id' has the blank id ''"),
        ({"item_id": ["  ", *["1"] * 11]}, "'item_id' has the blank id '  '"),
        ({"item_id": [1.5, *[1.0] * 11]}, "'item_id' in interactions are not an id.* the first: 1.5 in row 0"),
        ({"item_id": [float("nan"), *[1.0] * 11]}, "the first: nan in row 0"),
        ({"item_id": [True] * 12}, "column type Boolean"),
        ({"item_id": [["1"]] * 12}, "'item_id' in interactions are not an id"),
        ({"item_id": [float(2**53)] * 12}, "have lost digits"),
        ({"items_item_id": ["1", None, "3"]}, "'item_id' in items .* missing in row 1"),
        ({"items_item_id": ["1", "1", "3"]}, "1 ids occur more than once in the table of items"),
    ],
)
def test_what_is_missing_or_no_time_or_id_is_named(columns, message):
    with pytest.raises(DataError, match=message):
        prepared(hand_made(**columns))


def test_ids_of_any_type_meet():
    expected = prepared(hand_made())
    for ids in ([1, 2, 3], [1.0, 2.0, 3.0], pl.Series(["1", "2", "3"], dtype=pl.Categorical)):
        numbers = pl.Series(ids).to_list() * 4
        found = prepared(hand_made(item_id=numbers, items_item_id=pl.Series(ids)))
        assert found.catalog == expected.catalog
        assert found.items.tolist() == expected.items.tolist()


def test_attributes_of_any_type_become_text():
    columns = {
        "items_title": ["A", None, "  C "],
        "items_tags": [["x", None, "y"], [], None],
        "items_price": [1.5, None, None],
        "items_year": [dt.date(2019, 3, 31), None, None],
    }
    found = prepared(hand_made(**columns))
    assert list(found.catalog) == [
        {"title": "A", "tags": "x y", "price": "1.5", "year": "2019-03-31"}, {"title": "  C "},
    ]  # fmt: skip


def test_columns_and_kinds():
    source = hand_made()
    renamed = source.interactions.rename({"user_id": "customer"})
    with pytest.raises(MissingColumnsError, match="interactions has no column 'user_id'; its columns are 'customer'"):
        prepared(Source(renamed, source.items, source.report))
    with pytest.raises(MissingColumnsError, match="items has no column 'item_id'"):
        prepared(Source(source.interactions, source.items.select("title"), source.report))
    with pytest.raises(MissingColumnsError, match="no column besides"):
        prepared(Source(source.interactions, source.items.select("item_id"), source.report))
    with pytest.raises(TypeError, match="interactions of the source is LazyFrame"):
        prepared(Source(source.interactions.lazy(), source.items, source.report))
    with pytest.raises(TypeError, match="items of the source is DataFrame; expected a polars"):
        prepared(Source(source.interactions, source.items.to_pandas(), source.report))
    with pytest.raises(TypeError, match="expected a ReadReport"):
        prepared(Source(source.interactions, source.items, None))
    with pytest.raises(TypeError, match=r"got DataFrame.*from_frames"):
        prepared(source.interactions)


def test_an_empty_log_is_named():
    source = hand_made()
    for log, items in ((source.interactions.clear(), source.items), (source.interactions, source.items.clear())):
        with pytest.raises(DataError, match=r"Nothing is left of (0|12) interactions"):
            prepared(Source(log, items, source.report))
    untyped = pl.DataFrame({"user_id": [], "item_id": [], "timestamp": []})
    with pytest.raises(DataError, match="Nothing is left of 0 interactions"):
        prepared(Source(untyped, source.items, source.report))


def test_decimals_as_ids():
    ids = [decimal.Decimal("1.00"), decimal.Decimal("2.00"), decimal.Decimal("3.00")]
    found = prepared(hand_made(item_id=ids * 4, items_item_id=ids))
    assert list(found.catalog.ids) == ["1", "2", "3"]
