"""Tables of pandas, polars, `datasets` and duckdb give what their values give in Python."""

from __future__ import annotations

from datetime import time, timedelta
from decimal import Decimal

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.items.frames import frame_kind
from tests.support.catalogs import as_dict

TABLE = pa.table({"item_id": ["1", "2"], "title": ["A", "B"]})
EXPECTED = {"1": {"title": "A"}, "2": {"title": "B"}}


class TestArrow:
    def test_batches_readers_and_whatever_streams(self):
        class Stream:
            def __arrow_c_stream__(self, requested_schema=None):
                return TABLE.__arrow_c_stream__(requested_schema)

        for source in (lambda: TABLE, TABLE.to_reader, lambda: TABLE.to_batches()[0], Stream):
            for method in (ItemCatalog.from_arrow, ItemCatalog.from_rows, ItemCatalog.from_items):
                assert as_dict(method(source())) == EXPECTED

    def test_relations_of_duckdb(self):
        duckdb = pytest.importorskip("duckdb")
        relation = duckdb.sql(
            "select 1.0::float item_id, 12.50::decimal(5, 2) price, {'a': 9.99::float} s, map {'k': 1} m"
        )
        assert as_dict(ItemCatalog.from_arrow(relation)) == {"1": {"price": "12.50", "s": "a: 9.99", "m": "k: 1"}}
        assert ItemCatalog.from_rows(relation) == ItemCatalog.from_arrow(relation)

    def test_what_is_no_table(self):
        for source in ("items.csv", 5, [{"item_id": "1"}], TABLE["title"]):
            with pytest.raises(TypeError, match=r"from_arrow takes a pyarrow.Table.*from_rows"):
                ItemCatalog.from_arrow(source)
        assert frame_kind({"item_id": {"title": "A"}}) is frame_kind(pa.Table) is None


class TestDatasets:
    LABEL = datasets.ClassLabel(names=["Toys", "Games"])

    @pytest.mark.parametrize(
        ("feature", "values", "texts"),
        [
            (LABEL, [0, None], ["Toys", None]),
            (LABEL, [-1, 1], [None, "Games"]),
            (datasets.Sequence(LABEL), [[0, 1], []], ["Toys Games", None]),
            (datasets.Sequence(LABEL, length=2), [[0, 1], [1, 1]], ["Toys Games", "Games Games"]),
            ({"c": LABEL, "x": [datasets.Value("float32")]}, [{"c": 1, "x": [9.99]}, None], ["c: Games, x: 9.99", None]),  # noqa: E501
            ([{"c": LABEL}], [[{"c": 1}, {"c": 0}], []], ["c: Games c: Toys", None]),
            (datasets.Translation(languages=["en", "fr"]), [{"en": "a", "fr": "b"}, None], ["en: a, fr: b", None]),
            (datasets.Array2D((2, 1), "float32"), [[[9.99], [2]], [[3], [4]]], ["9.99 2.0", "3.0 4.0"]),
        ],
    )  # fmt: skip
    def test_features(self, feature, values, texts):
        features = datasets.Features({"item_id": datasets.Value("int64"), "t": datasets.Value("string"), "x": feature})
        dataset = datasets.Dataset.from_dict({"item_id": [1, 2], "t": ["a", "b"], "x": values}, features=features)
        expected = {
            str(i): {"t": t} | ({} if x is None else {"x": x}) for i, t, x in zip((1, 2), "ab", texts, strict=True)
        }
        assert as_dict(ItemCatalog.from_dataset(dataset)) == expected
        assert as_dict(ItemCatalog.from_dataset(dataset.with_format("numpy"))) == expected
        assert as_dict(ItemCatalog.from_dataset(dataset.to_iterable_dataset())) == expected
        assert list(ItemCatalog.from_dataset(dataset.select([1, 0]))) == list(expected.values())[::-1]

    def test_json_is_read(self):
        if not hasattr(datasets, "Json"):
            pytest.skip("datasets without Json")
        features = datasets.Features({"item_id": datasets.Value("string"), "x": datasets.Json()})
        dataset = datasets.Dataset.from_dict({"item_id": ["1", "2"], "x": [{"a": [1, 2]}, "b"]}, features=features)
        assert as_dict(ItemCatalog.from_dataset(dataset)) == {"1": {"x": "a: 1 2"}, "2": {"x": "b"}}

    def test_images_are_no_text(self):
        for feature in (datasets.Image(), [datasets.Image()], {"inner": datasets.Image()}):
            features = datasets.Features(
                {"item_id": datasets.Value("string"), "t": datasets.Value("string"), "x": feature}
            )
            dataset = datasets.Dataset.from_dict({"item_id": ["1"], "t": ["a"], "x": [None]}, features=features)
            with pytest.raises(TypeError, match=r"column 'x' has the feature Image.*attributes="):
                ItemCatalog.from_dataset(dataset)
            assert as_dict(ItemCatalog.from_dataset(dataset, attributes=["t"])) == {"1": {"t": "a"}}

    def test_splits_and_streams(self):
        dataset = datasets.Dataset(TABLE)
        stream = dataset.to_iterable_dataset()
        for source in (
            dataset,
            stream,
            stream.map(dict),  # does not know its columns
            datasets.DatasetDict({"train": dataset}),
            datasets.IterableDatasetDict({"train": stream}),
        ):
            for method in (
                ItemCatalog.from_dataset,
                ItemCatalog.from_rows,
                ItemCatalog.from_items,
                ItemCatalog.from_arrow,
            ):
                assert as_dict(method(source)) == EXPECTED
        with pytest.raises(ValueError, match=r"one split, got 2: \['train', 'test'\].*from_dataset\(dataset\["):
            ItemCatalog.from_dataset(datasets.DatasetDict({"train": dataset, "test": dataset}))
        with pytest.raises(TypeError, match=r"from_dataset takes a datasets.Dataset, got a list"):
            ItemCatalog.from_dataset([{"item_id": "1"}])


class TestPandas:
    def test_columns_of_every_dtype(self):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {
                "item_id": [1.0, 2.0],
                "objects": pd.Series([1, 2.5], dtype=object),
                "mixed": ["a", ["b", 3]],
                "dicts": [{"a": 1}, {"b": [2]}],
                "float32": np.array([9.99, np.inf], np.float32),
                "category": pd.Categorical(["a", None]),
                "mixed category": pd.Categorical([1, "x"]),
                "Int64": pd.array([2**60 + 1, None], "Int64"),
                "boolean": pd.array([True, None], "boolean"),
                "time": pd.to_datetime(["2020-01-01 10:00", None]),
                "zone": pd.to_datetime(["2020-01-01", None]).tz_localize("Europe/Berlin"),
                "sparse": pd.arrays.SparseArray([0.0, 1.5]),
                "map": pd.Series([[("k", 1)], None], dtype=pd.ArrowDtype(pa.map_(pa.string(), pa.int8()))),
            }
        )
        assert as_dict(ItemCatalog.from_pandas(frame)) == {
            "1": {
                "objects": "1",
                "mixed": "a",
                "dicts": "a: 1",
                "float32": "9.99",
                "category": "a",
                "mixed category": "1",
                "Int64": str(2**60 + 1),
                "boolean": "True",
                "time": "2020-01-01 10:00:00",
                "zone": "2020-01-01 00:00:00+01:00",
                "sparse": "0.0",
                "map": "k: 1",
            },
            "2": {"objects": "2.5", "mixed": "b 3", "dicts": "b: 2", "mixed category": "x", "sparse": "1.5"},
        }

    def test_the_index_is_an_attribute_only_if_it_has_a_name(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"]})
        named = {"1": {"title": "A", "brand": "X"}, "2": {"title": "B", "brand": "Y"}}
        for index, expected in (
            ([5, 9], EXPECTED),
            (["x", "y"], EXPECTED),
            (pd.RangeIndex(2, name="row"), EXPECTED),
            (pd.Index(["X", "Y"], name="brand"), named),
            (pd.Index(["1", "2"], name="item_id"), EXPECTED),
        ):
            indexed = frame.set_axis(index)
            assert as_dict(ItemCatalog.from_pandas(indexed)) == expected
            if indexed.index.name != "item_id":  # pandas does not write two columns of one name
                indexed.to_parquet(tmp_path / "items.parquet")
                assert as_dict(ItemCatalog.from_parquet(tmp_path / "items.parquet")) == expected
        by_id = frame.set_index("item_id")
        assert as_dict(ItemCatalog.from_pandas(by_id)) == as_dict(ItemCatalog.from_rows(by_id)) == EXPECTED
        numbers = frame[["title"]].set_axis(pd.RangeIndex(1, 3, name="item_id"))
        assert as_dict(ItemCatalog.from_pandas(numbers)) == EXPECTED
        levels = frame.assign(shop="s").set_index(["shop", "item_id"])
        assert as_dict(ItemCatalog.from_pandas(levels)) == {i: item | {"shop": "s"} for i, item in EXPECTED.items()}

    def test_an_index_that_another_library_read_as_a_column(self):
        for index in ("__index_level_0__", "Unnamed: 0"):
            columns = {index: [5, 9], **TABLE.to_pydict()}
            assert as_dict(ItemCatalog.from_arrow(pa.table(columns))) == EXPECTED
            asked = ItemCatalog.from_arrow(pa.table(columns), attributes=[index])
            assert list(asked) == [{index: "5"}, {index: "9"}]

    def test_what_is_refused(self):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"item_id": [1, 2], "title": ["a", "b"]})
        with pytest.raises(ValueError, match=r"no column 'item_id'; its columns are \['asin', 'title'\].*id_column="):
            ItemCatalog.from_pandas(frame.rename(columns={"item_id": "asin"}))
        with pytest.raises(ValueError, match="The column 'title' occurs twice"):
            ItemCatalog.from_pandas(frame[["item_id", "title", "title"]])
        with pytest.raises(TypeError, match=r"called \('a', 'b'\), a tuple"):
            ItemCatalog.from_pandas(frame.set_axis(pd.MultiIndex.from_tuples([("a", "b"), ("c", "d")]), axis=1))
        for values in (pd.to_timedelta([1, 2]), pd.period_range("2020", periods=2), pd.interval_range(0, 2), [1j, 2j]):
            with pytest.raises(TypeError, match=r"^The column 'x' \("):
                ItemCatalog.from_pandas(frame.assign(x=values))
        with pytest.raises(TypeError, match=r"The column 'item_id' .*1.5.*row 1"):
            ItemCatalog.from_pandas(frame.assign(item_id=[1, 1.5]))
        with pytest.raises(TypeError, match="from_pandas takes a DataFrame of pandas, got datasets's Dataset"):
            ItemCatalog.from_pandas(datasets.Dataset(TABLE))

    @settings(max_examples=60, deadline=None)
    @given(
        values=st.lists(
            st.none()
            | st.integers()
            | st.floats()
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
            | st.booleans()
            | st.dates()
            | st.lists(st.integers() | st.text(max_size=2), max_size=2),
            max_size=5,
        )
    )
    def test_objects_agree_with_rows(self, values):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"item_id": range(len(values)), "t": "x", "v": pd.Series(values, dtype=object)})
        rows = [{"item_id": i, "t": "x", "v": value} for i, value in enumerate(values)]
        assert ItemCatalog.from_pandas(frame) == ItemCatalog.from_rows(rows)


class TestPolars:
    def test_columns_of_every_dtype(self):
        pl = pytest.importorskip("polars")
        frame = pl.DataFrame(
            {
                "item_id": pl.Series([2**70], dtype=pl.Int128),
                "enum": pl.Series(["a"], dtype=pl.Enum(["a"])),
                "struct": [{"a": 1.5, "b": None}],
                "array": pl.Series([[9.99, 2]], dtype=pl.Array(pl.Float32, 2)),
                "decimal": [Decimal("1.50")],
                "object": pl.Series([{"z": 1}], dtype=pl.Object),
                "time": [time(1, 2)],
                "wide": pl.Series([[2**100]], dtype=pl.List(pl.Int128)),
                "null": [None],
            }
        )
        expected = {
            "enum": "a",
            "struct": "a: 1.5",
            "array": "9.99 2.0",
            "decimal": "1.50",
            "object": "z: 1",
            "time": "01:02:00",
            "wide": str(2**100),
        }
        for source in (frame, frame.lazy()):
            assert as_dict(ItemCatalog.from_polars(source)) == {str(2**70): expected}
        assert ItemCatalog.from_rows(frame) == ItemCatalog.from_polars(frame)
        with pytest.raises(TypeError, match=r"The column 'x' \(duration\[us\]\) holds a timedelta"):
            ItemCatalog.from_polars(pl.DataFrame({"item_id": ["a"], "x": [timedelta(1)]}))
        with pytest.raises(ValueError, match="no column 'item_id'"):
            ItemCatalog.from_polars(pl.DataFrame({"asin": ["a"], "x": ["b"]}))
