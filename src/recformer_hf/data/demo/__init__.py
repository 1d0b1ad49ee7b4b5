"""The demo shop that comes with the package: four domains of invented products, and the shoppers who choose among them.

Nothing here was observed. Products, brands, shoppers and choices are drawn by the process below, for the README, the
tests and the examples: a number measured on it shows that code works, never that a method is good.

- Items come in *series*: a brand's line in one category, of one style and one price band, in up to five colours. Brand
  and category are attributes of their own; style, price band and colour are only visible in the words of the title.
- The next choice is drawn from all released items in proportion to `exp(points / POINT_SCALE)`. An item gets points for
  what it shares with the newest eight items of the history (`TASTE`), each weighted by `RECENCY_WEIGHTS`; it loses some
  if it is one of these eight itself; and it gets a few for its appeal, which is the same for every shopper. One choice
  in five is a gift instead: any released item, all equally likely.
- All domains share the price bands, the colours and most style words, so that what is learned in one domain helps in
  another. Each domain has its own brands, categories, products and three words of every style.
- *Cold* items are released after the last training and validation choice, so only a test target can be one. A cold item
  shares the brand and the category with the other items of its series, but no word of the title: its style and price
  band have to be learned from words that other series use.

`docs/demo_shop.md` has the numbers: what the process allows, and what simple recommenders reach.
"""

from .choices import (
    FEWEST_CHOICES,
    GIFT_RATE,
    MOST_CHOICES,
    OWNED_POINTS,
    POINT_SCALE,
    RECENCY_WEIGHTS,
    RESERVE,
    TASTE_POINTS,
)
from .domains import demo_domains, load_demo_domain
from .oracle import DemoOracle
from .shop import BRAND_APPEAL, COLD_SERIES_RATE, ITEM_APPEAL, SERIES_SIZE, TASTE
from .words import COLOURS, PRICE_BAND_WORDS, STYLE_WORDS

__all__ = [
    "BRAND_APPEAL",
    "COLD_SERIES_RATE",
    "COLOURS",
    "FEWEST_CHOICES",
    "GIFT_RATE",
    "ITEM_APPEAL",
    "MOST_CHOICES",
    "OWNED_POINTS",
    "POINT_SCALE",
    "PRICE_BAND_WORDS",
    "RECENCY_WEIGHTS",
    "RESERVE",
    "SERIES_SIZE",
    "STYLE_WORDS",
    "TASTE",
    "TASTE_POINTS",
    "DemoOracle",
    "demo_domains",
    "load_demo_domain",
]
