"""Splits of prepared interactions into training sequences, and histories with a target to evaluate on.

Every draw comes from a stable hash of ids and a seed. The same input therefore gives the same split on every machine,
and a larger share contains a smaller one. Validation and test are never subsampled.
"""

from .domains import by_domain
from .last_items import ColdItemSplit, cold_item, leave_one_out
from .periods import temporal
from .training_share import low_resource
from .users import users_held_out

__all__ = [
    "ColdItemSplit",
    "by_domain",
    "cold_item",
    "leave_one_out",
    "low_resource",
    "temporal",
    "users_held_out",
]
