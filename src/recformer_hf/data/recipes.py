"""The paper's datasets: which raw files of the Amazon review data 2018 they need, and how they are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .dataset import SequentialDataset
from .preparation import PreparedInteractions, prepare
from .readers.amazon import read_amazon
from .readers.source import MAX_DAMAGED, DataError, MissingFileError
from .splits import by_domain, leave_one_out
from .time_order import Ties

logger = logging.get_logger(__name__)

SOURCE_PAGE = (
    'the page "Amazon review data (2018)" of the McAuley lab at UC San Diego, '
    "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/"
)
# Names of a category's review file, the best one first. The "5-core" file is far smaller than the full one and has
# everything that a 5-core needs.
_REVIEW_FILES = ("{}_5.json.gz", "{}_5.json", "{}.json.gz", "{}.json")
_METADATA_FILES = ("meta_{}.json.gz", "meta_{}.json")


@dataclass(frozen=True)
class PaperCounts:
    """A row of the paper's dataset table. Mean length and density follow from the counts."""

    users: int
    items: int
    interactions: int

    @property
    def mean_length(self) -> float:
        """Interactions per user."""
        return self.interactions / self.users

    @property
    def density(self) -> float:
        """Share of all (user, item) pairs that are interactions, 0 to 1."""
        return self.interactions / (self.users * self.items)


@dataclass(frozen=True)
class Recipe:
    """One of the paper's datasets.

    Args:
        name: its name on the command line.
        categories: names of the raw files whose sequences train. A target set has one category, split leave-one-out.
        paper: the paper's counts of training and validation together; the paper rounds those of pretraining.
        validation_categories: names of the raw files whose sequences validate, for pretraining.
    """

    name: str
    categories: tuple[str, ...]
    paper: PaperCounts
    validation_categories: tuple[str, ...] = ()


_PRETRAINING = (
    "Automotive",
    "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry",
    "Electronics",
    "Grocery_and_Gourmet_Food",
    "Home_and_Kitchen",
    "Movies_and_TV",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("paper-pretraining", _PRETRAINING, PaperCounts(3_600_000, 1_020_000, 33_600_000), ("CDs_and_Vinyl",)),
        Recipe("paper-scientific", ("Industrial_and_Scientific",), PaperCounts(11_041, 5_327, 76_896)),
        Recipe("paper-instruments", ("Musical_Instruments",), PaperCounts(27_530, 10_611, 231_312)),
        Recipe("paper-arts", ("Arts_Crafts_and_Sewing",), PaperCounts(56_210, 22_855, 492_492)),
        Recipe("paper-office", ("Office_Products",), PaperCounts(101_501, 27_932, 798_914)),
        Recipe("paper-games", ("Video_Games",), PaperCounts(11_036, 15_402, 100_255)),
        Recipe("paper-pet", ("Pet_Supplies",), PaperCounts(47_569, 37_970, 420_662)),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe with this name.

    Raises:
        DataError: if the name is unknown.
    """
    if name not in RECIPES:
        raise DataError(f"No recipe {name!r}; expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def find_files(recipe: Recipe, folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """A recipe's raw files in a folder: category -> (reviews, metadata).

    Args:
        recipe: the recipe.
        folder: the folder of the files, which have the names under which they were published and may be gzipped. The
            5-core file of a category's reviews (`<category>_5.json.gz`) is preferred to the full one.

    Raises:
        MissingFileError: if files are missing; the message names all of them and says where to get them.
    """
    folder = Path(folder)
    found: dict[str, tuple[Path, Path]] = {}
    missing = []
    for category in (*recipe.categories, *recipe.validation_categories):
        pair = []
        for patterns in (_REVIEW_FILES, _METADATA_FILES):
            names = [pattern.format(category) for pattern in patterns]
            path = next((folder / name for name in names if (folder / name).is_file()), None)
            if path is None:
                missing.append(names[0])
            else:
                pair.append(path)
        if len(pair) == 2:
            found[category] = (pair[0], pair[1])
    if missing:
        raise MissingFileError(
            f"{recipe.name} needs {', '.join(missing)} in {folder}. Get them from {SOURCE_PAGE} (reviews: the 5-core "
            "files; metadata: the file of each category)."
        )
    return found


def build(
    recipe: Recipe,
    folder: str | Path,
    *,
    min_interactions: int = 5,
    ties: Ties = "random",
    seed: int = 0,
    max_damaged: float = MAX_DAMAGED,
) -> SequentialDataset:
    """Create one of the paper's datasets from the raw files.

    Each category is prepared separately: items without metadata or text and exact duplicates are removed, the 5-core of
    users and items is taken, and interactions are ordered by time. A target set is then split leave-one-out. For
    pretraining, the whole sequences of seven categories train, and those of CDs and Vinyl validate, with their last
    item as the target.

    Args:
        recipe: the recipe.
        folder: the folder of the raw files (`find_files`).
        min_interactions: the k of the k-core (5 in the paper).
        ties: order of a user's interactions on the same day (`preparation.prepare`).
        seed: seed for `ties="random"`.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged.

    Returns:
        the dataset, named after the recipe.

    Raises:
        MissingFileError: if files are missing.
        DataError: as in the readers, preparation and splits.
    """
    files = find_files(recipe, folder)
    domains: dict[str, PreparedInteractions] = {}
    for category, (reviews, metadata) in files.items():
        logger.info("%s: %s and %s", category, reviews.name, metadata.name)
        domains[category] = prepare(
            read_amazon(reviews, metadata, "2018", max_damaged=max_damaged),
            min_user_interactions=min_interactions,
            min_item_interactions=min_interactions,
            ties=ties,
            seed=seed,
        )
    if recipe.validation_categories:
        dataset = by_domain(
            {category: domains[category] for category in recipe.categories},
            {category: domains[category] for category in recipe.validation_categories},
        )
    else:
        dataset = leave_one_out(domains[recipe.categories[0]])
    dataset.info["name"] = recipe.name
    dataset.info["paper"] = {
        "users": recipe.paper.users,
        "items": recipe.paper.items,
        "interactions": recipe.paper.interactions,
    }
    return dataset


def summary_table(dataset: SequentialDataset, paper: PaperCounts | None = None) -> str:
    """The columns of the paper's dataset table for this dataset as text, and below it the paper's own row if given."""
    rows = [("this dataset", _cells(dataset.statistics))]
    if paper is not None:
        counts = {name: getattr(paper, name) for name in ("users", "items", "interactions", "mean_length", "density")}
        rows.append(("the paper", _cells(counts)))
    header = ("", ["users", "items", "interactions", "mean length", "density"])
    widths = [max(len(cells[column]) for _, cells in (header, *rows)) for column in range(5)]
    return "\n".join(
        f"{name:<13}" + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in (header, *rows)
    )


def _cells(counts: dict[str, Any]) -> list[str]:
    whole = [f"{counts[name]:,}" for name in ("users", "items", "interactions")]
    return [*whole, f"{counts['mean_length']:.2f}", f"{counts['density']:.2e}"]
