"""The paper's own datasets: which raw files of the Amazon review data 2018 they need, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .dataset import SequentialDataset
from .preparation import PreparedInteractions, Ties, prepare
from .readers.amazon import read_amazon
from .readers.source import MAX_DAMAGED, DataError, MissingFileError
from .splits import by_domain, leave_one_out

logger = logging.get_logger(__name__)

SOURCE_PAGE = (
    'the page "Amazon review data (2018)" of the McAuley lab at UC San Diego, '
    "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/"
)
# Reviews of a category, best first: the "5-core" file is much the smaller one, and all that a 5-core needs.
_REVIEW_FILES = ("{}_5.json.gz", "{}_5.json", "{}.json.gz", "{}.json")
_METADATA_FILES = ("meta_{}.json.gz", "meta_{}.json")


@dataclass(frozen=True)
class PaperCounts:
    """A line of the paper's dataset table. Mean length and density follow from the counts."""

    users: int
    items: int
    interactions: int

    @property
    def mean_length(self) -> float:
        """Interactions of a user."""
        return self.interactions / self.users

    @property
    def density(self) -> float:
        """Share of all (user, item) pairs that are interactions, 0 to 1."""
        return self.interactions / (self.users * self.items)


@dataclass(frozen=True)
class Recipe:
    """One of the paper's datasets.

    Args:
        name: as on the command line.
        categories: names of the raw files whose sequences train; of a target set the one category, split leave-one-out.
        validation_categories: names of those that validate (pretraining).
        paper: the paper's counts, of training and validation together; those of pretraining are rounded in the paper.
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
    """The recipe of a name.

    Raises:
        DataError: there is none of that name.
    """
    if name not in RECIPES:
        raise DataError(f"No recipe {name!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]


def find_files(recipe: Recipe, folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """A recipe's raw files in a folder: category -> (reviews, metadata).

    Args:
        recipe: the recipe.
        folder: where the files lie under the names that they are published by, gzipped or not. Of a category's
            reviews the 5-core file (`<category>_5.json.gz`) is taken, or else the full one.

    Raises:
        MissingFileError: files are missing; the message names all of them, and where a person gets them.
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
    """Make one of the paper's datasets from the raw files.

    Every category by itself: items without metadata or text out, exact duplicates out, 5-core of users and items,
    order by time. A target set is then split leave-one-out. For pretraining the sequences of seven categories train
    whole, and those of CDs and Vinyl validate, their last item the target.

    Args:
        recipe: the recipe.
        folder: where the raw files lie (`find_files`).
        min_interactions: the k of the k-core (the paper's 5).
        ties: order of a user's interactions of one day (`preparation.prepare`).
        seed: of `ties="random"`.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged.

    Returns:
        the dataset, named after the recipe.

    Raises:
        MissingFileError: files are missing.
        DataError: as readers, preparation and splits raise.
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
    """The columns of the paper's dataset table as text, and the paper's own line beside where there is one."""
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
