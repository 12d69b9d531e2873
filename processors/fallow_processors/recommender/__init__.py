"""Turns detections into typed recommendations with a saving, as the playbook allows."""

from fallow.component import Context, Factory
from fallow_processors.recommender.config import RecommenderConfig
from fallow_processors.recommender.playbook import Playbook, load_playbook
from fallow_processors.recommender.processor import RecommenderProcessor


def _build(config: RecommenderConfig, context: Context) -> RecommenderProcessor:
    path = context.directory / config.playbook if config.playbook else None
    return RecommenderProcessor(load_playbook(path), context)


FACTORY = Factory(type="recommender", config=RecommenderConfig, build=_build)

__all__ = ["FACTORY", "Playbook", "RecommenderConfig", "RecommenderProcessor", "load_playbook"]
