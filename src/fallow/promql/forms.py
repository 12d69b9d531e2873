"""In which form what a condition reads is held, how exact that is, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fallow.promql import ops
from fallow.promql.plan import Node, Plan, below
from fallow.series import StoreSpec
from fallow.series.layout import RAW, RAW_LIMIT, ROW_WORDS
from fallow.units import duration_text

Form = Literal["last", "threshold", "ring", "panes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowForm:
    """How one selector of a condition is held. ``last``: the newest sample; ``panes``: partial results per slice of the
    window; ``threshold``: panes that decide one comparison and no more; ``ring``: the samples themselves.

    ``width`` (ns) and ``panes`` are 0 where there are none; ``exact`` says whether the value is that of the window's
    samples, ``bound`` what is not, or that the window ends up to ``width`` before the instant of a decision;
    ``bytes`` what one series takes.
    """

    text: str
    form: Form
    width: int
    panes: int
    exact: bool
    bound: str
    bytes: int


def forms(plan: Plan, condition: int) -> list[WindowForm]:
    """The forms of everything that a condition reads, in order of evaluation."""
    leaves = (ops.INSTANT, ops.RANGE, ops.SUBRANGE)
    return [_form(plan, node) for node in below(plan.roots[condition]) if node.op in leaves]


def _form(plan: Plan, node: Node) -> WindowForm:
    if node.op == ops.INSTANT:
        return WindowForm(
            text=node.text,
            form="last",
            width=0,
            panes=0,
            exact=True,
            bound="exact at every instant",
            bytes=8 * ROW_WORDS,
        )
    if node.op == ops.SUBRANGE:
        fed = node.children[0]
        return WindowForm(
            text=node.text,
            form="ring",
            width=0,
            panes=0,
            exact=True,
            bound="exact at every instant, of the subquery's results",
            bytes=8 * (ROW_WORDS + plan.signals[fed.signal].stores[fed.store].words),
        )
    store = plan.signals[node.signal].stores[node.store]
    form, exact, bound = _bound(node, store)
    return WindowForm(
        text=node.text,
        form=form,
        width=store.width,
        panes=store.ring,
        exact=exact,
        bound=bound,
        bytes=8 * store.words,
    )


def _bound(node: Node, store: StoreSpec) -> tuple[Form, bool, str]:
    exact = f"exact for the window that ends at the last multiple of {duration_text(store.width)}"
    if node.fn == ops.QUANTILE_SIDE:
        return "threshold", False, f"{exact} in which side of {store.limit:g} it lies on; the value is about"
    if RAW in ops.statistics_of(node.fn):
        return "ring", False, f"{exact}, if that holds at most {RAW_LIMIT} samples; else of the newest {RAW_LIMIT}"
    return "panes", True, exact
