"""What is learned from it: component type → module, in the order in which data meets them."""

COMPONENTS = {
    "decode": "fallow_processors.decode",
    "normalise": "fallow_processors.normalise",
    "attribute": "fallow_processors.attribute",
    "health": "fallow_processors.health",
    "baselines": "fallow_processors.baselines",
    "rhythm": "fallow_processors.rhythm",
    "cre": "fallow_processors.cre",
    "recommender": "fallow_processors.recommender",
}
