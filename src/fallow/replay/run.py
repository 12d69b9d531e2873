"""A recording through the processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fallow.batch import Batch
from fallow.component import Context, Processor
from fallow.registry import factory
from fallow.replay.accounting import Accounting
from fallow.replay.recording import Recording
from fallow.service import Chain
from fallow.summary import Summary

BEFORE_RULES = ("decode", "normalise", "attribute", "health", "baselines", "rhythm")
PROCESSORS = (*BEFORE_RULES, "cre", "recommender")


def default_chain(rules: Sequence[Path] | None, playbook: Path | None, base: Context) -> Chain:
    """The processors that recommendations need, in their order; without rules or playbook the built-in ones.

    Raises:
        DocumentError: a rule or the playbook is wrong.
    """
    options: dict[str, dict[str, Any]] = {}
    if rules:
        options["cre"] = {"rules": [str(path.resolve()) for path in rules]}
    if playbook is not None:
        options["recommender"] = {"playbook": str(playbook.resolve())}
    return Chain(build(PROCESSORS, options, base), raised)


def raised(_: str) -> None:
    """For ``Chain``: here a fault of a processor ends the run. (A service counts it, and the flow goes on.)"""
    raise  # noqa: PLE0704  # called where the exception is handled


def build(types: Sequence[str], options: Mapping[str, Mapping[str, Any]], base: Context) -> dict[str, Processor]:
    """Processors by type, each with a context of its own name."""
    made: dict[str, Processor] = {}
    for type in types:
        found = factory("processors", type)
        made[type] = found.build(found.config.model_validate(options.get(type, {})), replace(base, id=type))
    return made


def replay(
    recording: Recording,
    chain: Chain,
    on_batch: Callable[[Batch], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Run everything recorded through the chain, to the end of its time.

    Args:
        on_batch: called with each processed batch, in order.
        progress: called with the number of samples and records that each batch brought.
    """
    accounting = Accounting(recording.series)

    def observe(batch: Batch) -> None:
        accounting.observe(batch)
        on_batch(batch)

    chain.prepare()
    for batch in recording:
        out = chain.process(batch)
        observe(out)
        # What processors drop was read all the same; only of requests is the size not known before decoding.
        progress(_size(out if batch.request else batch))
    for out in chain.finish():
        observe(out)
    return accounting.summary()


def _size(batch: Batch) -> int:
    return (len(batch.metrics) if batch.metrics else 0) + (len(batch.logs) if batch.logs else 0)
