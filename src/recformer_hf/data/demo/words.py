"""The words of the demo shop: those that all domains share, and each domain's own."""

from __future__ import annotations

from dataclasses import dataclass

STYLE_WORDS = (
    ("Rustic", "Farmhouse", "Weathered", "Cottage", "Homestead"),
    ("Minimal", "Plain", "Sleek", "Clean", "Understated"),
    ("Retro", "Vintage", "Nostalgic", "Classic", "Heritage"),
    ("Playful", "Cheerful", "Quirky", "Whimsical", "Funny"),
    ("Rugged", "Sturdy", "Heavy", "Tough", "Robust"),
    ("Elegant", "Graceful", "Refined", "Ornate", "Regal"),
    ("Natural", "Organic", "Earthy", "Leafy", "Botanical"),
    ("Smart", "Digital", "Connected", "Electronic", "Automatic"),
)
"""Words of each style in every domain; `DomainWords.style_words` adds three."""
PRICE_BAND_WORDS = (
    ("Basic", "Budget", "Value", "Thrifty", "Bargain", "Cheap"),
    ("Everyday", "Standard", "Family", "Regular", "Usual", "Common"),
    ("Select", "Choice", "Superior", "Preferred", "Finer", "Better"),
    ("Premium", "Deluxe", "Luxury", "Exclusive", "Lavish", "Finest"),
)
"""Words of each price band, from the cheapest to the most expensive."""
COLOURS = ("Red", "Blue", "Green", "Yellow", "Black", "White", "Pink", "Orange", "Purple", "Brown")


@dataclass(frozen=True)
class DomainWords:
    """A domain's own words.

    Args:
        products: category -> its four products.
        style_words: three words for each style, in the order of `STYLE_WORDS`.
        brands: ten names.
    """

    products: dict[str, tuple[str, ...]]
    style_words: tuple[tuple[str, ...], ...]
    brands: tuple[str, ...]


def _brands(domain_number: int) -> tuple[str, ...]:
    """Ten brands. Each half of a name occurs in every domain, each whole name in one domain only."""
    first = ("Vel", "Bra", "Oke", "Tar", "Lum", "Quin", "Sor", "Fen")
    second = ("mora", "stin", "ldo", "niva", "wick")
    return tuple(a + b for i, a in enumerate(first) for j, b in enumerate(second) if (i + j) % 4 == domain_number)


DOMAINS: dict[str, DomainWords] = {
    "kitchen": DomainWords(
        products={
            "Cookware": ("Skillet", "Saucepan", "Casserole", "Wok"),
            "Bakeware": ("Ramekin", "Griddle", "Muffintin", "Cakepan"),
            "Cutlery": ("Cleaver", "Ladle", "Spatula", "Whisk"),
            "Tableware": ("Plate", "Bowl", "Goblet", "Tureen"),
            "Pantry": ("Jar", "Canister", "Breadbox", "Spicerack"),
            "Brewing": ("Kettle", "Teapot", "Percolator", "Grinder"),
        },
        style_words=(
            ("Stoneware", "Enamel", "Earthenware"),
            ("Porcelain", "Frosted", "Clear"),
            ("Chrome", "Bakelite", "Diner"),
            ("Polkadot", "Rainbow", "Confetti"),
            ("Forged", "Hammered", "Ironclad"),
            ("Silver", "Crystal", "Giltrim"),
            ("Bamboo", "Cork", "Beechwood"),
            ("Induction", "Timed", "Programmed"),
        ),
        brands=_brands(0),
    ),
    "garden": DomainWords(
        products={
            "Planters": ("Trough", "Urn", "Basket", "Windowbox"),
            "Handtools": ("Trowel", "Dibber", "Secateurs", "Rake"),
            "Watering": ("Hose", "Sprinkler", "Sprayer", "Waterbutt"),
            "Seating": ("Bench", "Hammock", "Lounger", "Stool"),
            "Wildlife": ("Birdbath", "Feeder", "Nestbox", "Beehouse"),
            "Structures": ("Trellis", "Arch", "Pergola", "Coldframe"),
        },
        style_words=(
            ("Wicker", "Terracotta", "Driftwood"),
            ("Concrete", "Slate", "Zen"),
            ("Victorian", "Edwardian", "Wrought"),
            ("Gnomish", "Pinwheel", "Toadstool"),
            ("Galvanised", "Steel", "Stormproof"),
            ("Marble", "Alabaster", "Manor"),
            ("Hemp", "Coir", "Willow"),
            ("Solar", "Sensing", "Motorised"),
        ),
        brands=_brands(1),
    ),
    "music": DomainWords(
        products={
            "Strings": ("Guitar", "Mandolin", "Fiddle", "Cello"),
            "Percussion": ("Snare", "Bongo", "Cymbal", "Marimba"),
            "Woodwind": ("Flute", "Clarinet", "Oboe", "Recorder"),
            "Horns": ("Trumpet", "Trombone", "Cornet", "Tuba"),
            "Keys": ("Piano", "Accordion", "Celesta", "Harmonium"),
            "Stagegear": ("Amplifier", "Microphone", "Mixer", "Pedal"),
        },
        style_words=(
            ("Folk", "Bluegrass", "Campfire"),
            ("Ambient", "Lofi", "Lounge"),
            ("Swing", "Ragtime", "Disco"),
            ("Carnival", "Bubblegum", "Circus"),
            ("Grunge", "Stadium", "Garage"),
            ("Baroque", "Chamber", "Opera"),
            ("Acoustic", "Rosewood", "Spruce"),
            ("Midi", "Modelling", "Sampled"),
        ),
        brands=_brands(2),
    ),
    "outdoor": DomainWords(
        products={
            "Shelter": ("Tent", "Tarp", "Bivouac", "Awning"),
            "Packs": ("Rucksack", "Daypack", "Duffel", "Pouch"),
            "Footwear": ("Boots", "Sandals", "Gaiters", "Snowshoes"),
            "Lighting": ("Lantern", "Headlamp", "Torch", "Beacon"),
            "Climbing": ("Harness", "Carabiner", "Rope", "Helmet"),
            "Campcooking": ("Stove", "Mug", "Flask", "Firepit"),
        },
        style_words=(
            ("Canvas", "Leather", "Buckskin"),
            ("Ultralight", "Compact", "Foldaway"),
            ("Scout", "Expedition", "Explorer"),
            ("Neon", "Stripy", "Tiedye"),
            ("Armoured", "Ripstop", "Basecamp"),
            ("Cashmere", "Chalet", "Velvet"),
            ("Woollen", "Pine", "Heather"),
            ("Bluetooth", "Gps", "Satellite"),
        ),
        brands=_brands(3),
    ),
}
"""The position of a domain here is part of its seed, so new domains go to the end."""
