"""Python literals as JSON: the same value, or not JSON at all."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.readers.python_literals import literal_to_json

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(value=st.dictionaries(st.text(max_size=8), literals, max_size=4))
def test_a_python_literal_turned_to_json_means_the_same_or_is_no_json(value):
    line = repr(value).encode("utf-8", "surrogatepass")
    converted = literal_to_json(line)
    try:
        meaning = json.loads(converted)
    except ValueError:
        assert ast.literal_eval(line.decode("utf-8", "surrogatepass")) == value  # left to the slow way
    else:
        assert meaning == value


@pytest.mark.parametrize(
    "line",
    [
        b"{'a': 'x' 'y'}",
        b"{'a': ('x', 'y')}",
        b"{'a': u'x'}",
        b"{'a': b'x'}",
        b"{'a': 0x10}",
        b"{'a': True}",
        b"{'a': 'x",
    ],
)
def test_notation_that_json_does_not_have_is_not_guessed_at(line):
    with pytest.raises(ValueError, match=r".*"):
        json.loads(literal_to_json(line))
