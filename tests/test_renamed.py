"""Names of an earlier version keep working for one release."""

import pytest

from recformer_hf import evaluation
from recformer_hf.evaluation import ranking, target_ranks


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (evaluation, "History", "RankingProtocol"),
        (evaluation, "Ties", "TieOrder"),
        (ranking, "History", "RankingProtocol"),
        (ranking, "Part", "RankedBatch"),
        (ranking, "Ties", "TieOrder"),
        (ranking, "history_of", "protocol_of"),
        (target_ranks, "Ties", "TieOrder"),
    ],
)
def test_an_old_name_is_the_new_one_with_a_warning(module, old, new):
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {new}; the next release removes the old name"):
        assert getattr(module, old) is getattr(module, new)


@pytest.mark.parametrize("module", [evaluation, ranking, target_ranks])
def test_an_unknown_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match=rf"module '{module.__name__}' has no attribute 'Absent'"):
        module.Absent  # noqa: B018
