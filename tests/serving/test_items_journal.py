from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recformer_hf.serving.items_journal import FEWEST_STALE, Change, ItemsJournal, Position
from tests.support.faults import full_disk, run_killed

HAMMER = Change("B01", {"title": "Hammer ✿\n", "brand": ""}, np.array([1.5, -2e-30, 3.0], np.float32), "encoder-1")
GONE = Change("B02", None)


def same(found: list[Change], expected: list[Change]) -> bool:
    plain = [[(each.item_id, each.attributes, each.encoder) for each in changes] for changes in (found, expected)]
    vectors = all(
        (a.vector is None and b.vector is None) or np.array_equal(a.vector, b.vector)
        for a, b in zip(found, expected, strict=False)
    )
    return plain[0] == plain[1] and vectors


def add(journal: ItemsJournal, *changes: Change) -> Position:
    with journal.locked():
        _, position = journal.read()
        return journal.append(changes, position)


def test_what_was_written_is_read(tmp_path):
    journal = ItemsJournal(tmp_path / "new" / "shop.item_changes")
    assert journal.read() == ([], Position())
    assert not journal.has_more(Position())
    end = add(journal, HAMMER, GONE)
    changes, position = ItemsJournal(journal.path).read()
    assert same(changes, [HAMMER, GONE])
    assert position == end
    assert not journal.has_more(end)
    later = add(journal, GONE)
    assert journal.has_more(end)
    assert same(journal.read(end)[0], [GONE])
    assert journal.read(later) == ([], later)
    assert add(journal) == later


texts = st.text(max_size=20).filter(lambda text: text.isascii() or text.encode("utf-8", "replace").decode() == text)


@given(texts, st.one_of(st.none(), st.dictionaries(texts, texts, max_size=4)))
def test_any_text_fits_on_a_line(item_id, attributes):
    line = Change(item_id, attributes).to_line()
    assert line.count(b"\n") == 1
    assert Change.from_line(line) == Change(item_id, attributes)


def test_every_torn_last_line_is_dropped_and_overwritten(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")
    add(journal, HAMMER)
    whole = journal.path.read_bytes()
    line = GONE.to_line()
    for kept in range(len(line)):
        journal.path.write_bytes(whole + line[:kept])
        changes, position = journal.read()
        assert same(changes, [HAMMER])
        assert position.offset == len(whole)
    add(journal, GONE)
    assert same(journal.read()[0], [HAMMER, GONE])
    assert journal.path.read_bytes() == whole + line


def test_a_damaged_line_before_others_is_an_error(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")
    add(journal, HAMMER, GONE)
    content = bytearray(journal.path.read_bytes())
    content[20] ^= 1
    journal.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged at byte 0"):
        journal.read()


def test_a_full_disk_changes_nothing(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")
    add(journal, HAMMER)
    before = journal.path.read_bytes()
    large = Change("B03", {"title": "x" * 5000})
    with full_disk(1000), pytest.raises(OSError, match=r"journal could not be written.*Nothing was changed"):
        add(journal, large)
    assert journal.path.read_bytes() == before


def test_a_killed_process_leaves_no_lock_and_what_it_has_written(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")

    def work():
        with journal.locked():
            journal.append([HAMMER], Position())
            os._exit(9)

    run_killed(work)
    add(journal, GONE)
    assert same(journal.read()[0], [HAMMER, GONE])


def test_lines_that_no_longer_count_are_removed(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")
    changes = [Change(f"B{number % 3}", {"title": f"number {number}"}) for number in range(FEWEST_STALE + 2)]
    end = add(journal, *changes)
    with journal.locked():
        assert not journal.compact()  # one line too few
    end = add(journal, HAMMER, HAMMER)
    with journal.locked():
        assert journal.compact()
    assert journal.has_more(end)
    found, position = journal.read(end)  # a follower begins anew
    assert [each.item_id for each in found] == ["B0", "B1", "B2", "B01"]
    assert {each.item_id: each.attributes["title"] for each in found if each.item_id != "B01"} == {
        f"B{number % 3}": f"number {number}" for number in range(FEWEST_STALE - 1, FEWEST_STALE + 2)
    }
    assert add(journal, GONE).offset > position.offset


def test_a_journal_that_was_removed_begins_anew(tmp_path):
    journal = ItemsJournal(tmp_path / "journal")
    end = add(journal, HAMMER)
    journal.path.unlink()
    assert not journal.has_more(end)
    assert journal.read(end) == ([], Position())
    add(journal, GONE)
    assert same(journal.read()[0], [GONE])
