"""Types of a JSON table's columns."""

from __future__ import annotations

from recformer_hf.data.readers.column_types import TEXT, TEXTS, json_column_types, texts


def test_a_key_is_text_unless_an_object_has_a_list_there():
    lines = [b'{"id": 1, "tags": null}', b"{", b"[1]", b'{"tags": ["a"], "late": {}}', b'{"tags": "b", "id": "x"}']
    types = json_column_types(lines)
    assert list(types.items()) == [("id", TEXT), ("tags", TEXTS), ("late", TEXT)]
    assert json_column_types([b"", b"no object"]) == {}


def test_all_names_as_text():
    assert texts(["b", "a"]) == {"b": TEXT, "a": TEXT}
