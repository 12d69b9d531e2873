"""``fallow recommendations``: a client of the recommendation service like any other."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fallow.cli.output import err, fail, out
from fallow.entity import subject
from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1.recommend_pb2_grpc import RecommendationServiceStub
from fallow.units import moment_text

app = typer.Typer(help="Read and decide recommendations of a running Fallow.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Option(envvar="FALLOW_ENDPOINT", help="host:port of the recommendation service.")]
Token = Annotated[
    str, typer.Option(envvar="FALLOW_TOKEN", help="Bearer token, where the service asks for one.", show_default=False)
]
CaFile = Annotated[
    Path | None, typer.Option(envvar="FALLOW_CA_FILE", help="CA certificate; given, the connection uses TLS.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the recommendation.")]
Actor = Annotated[str, typer.Option(envvar="USER", help="Who decides.")]
Reason = Annotated[str, typer.Option(help="Why.")]
DEFAULT = "127.0.0.1:4337"
TIMEOUT_S = 10.0


@contextmanager
def _service(endpoint: str, token: str, ca: Path | None) -> Generator[tuple[Any, tuple[tuple[str, str], ...]]]:
    """A stub and the metadata for its calls; what goes wrong becomes one clear line."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    if ca is None:
        channel = grpc.insecure_channel(endpoint)
    else:
        channel = grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(ca.read_bytes()))
    with channel:
        try:
            yield RecommendationServiceStub(channel), metadata
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                fail(f"cannot reach the recommendation service at {endpoint}: is Fallow running there?", 1)
            fail(f"{error.details()} ({error.code().name.lower()})", 1)


def _state(value: int) -> str:
    return pb.State.Name(value).removeprefix("STATE_").lower()


def _states(names: list[str]) -> list[str]:
    known = [name.removeprefix("STATE_").lower() for name in pb.State.keys()[1:]]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is no state; there are: {', '.join(known)}", param_hint="--state")
    return [f"STATE_{name.upper()}" for name in names]


def _line(recommendation: Any) -> str:
    found = MessageToDict(recommendation, preserving_proto_field_name=True)
    return json.dumps({"type": "recommendation", **found, "state": _state(recommendation.state)}, ensure_ascii=False)


def _row(r: Any) -> tuple[str, ...]:
    hours = f"{r.saving.gpu_seconds / 3600:.1f} ({r.saving.low / 3600:.1f}–{r.saving.high / 3600:.1f})"
    return (
        r.id,
        moment_text(r.created_unix_nano),
        _state(r.state),
        r.tier,
        r.action.kind,
        subject(r.target),
        r.title,
        hours,
    )


def _table() -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("id", no_wrap=True, min_width=24)
    for name in ("since (UTC)", "state", "tier", "action"):
        table.add_column(name, no_wrap=True)
    for name in ("target", "why"):
        table.add_column(name, overflow="fold")
    table.add_column("GPU-hours", justify="right", no_wrap=True)
    return table


@app.command("list", epilog="Example: fallow recommendations list --state proposed")
def list_(
    endpoint: Endpoint = DEFAULT,
    token: Token = "",
    ca_file: CaFile = None,
    state: Annotated[list[str] | None, typer.Option(help="Only this state; may be given several times.")] = None,
    rule: Annotated[str, typer.Option(help="Only this CRE id.")] = "",
    as_json: AsJson = False,
) -> None:
    """List recommendations, newest first."""
    request = pb.ListRequest(states=_states(state or []), rule_id=rule, page_size=500)
    table = _table()
    with _service(endpoint, token, ca_file) as (stub, metadata):
        while True:
            page = stub.List(request, metadata=metadata, timeout=TIMEOUT_S)
            for recommendation in page.recommendations:
                if as_json:
                    print(_line(recommendation))
                else:
                    table.add_row(*_row(recommendation))
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if not as_json:
        out.print(table if table.row_count else "No recommendations.")


@app.command(epilog="Example: fallow recommendations show 3f9c…")
def show(
    id: Id, endpoint: Endpoint = DEFAULT, token: Token = "", ca_file: CaFile = None, as_json: AsJson = False
) -> None:
    """Explain one recommendation: the rule, its evidence, the arithmetic of the saving."""
    from rich.markdown import Markdown

    with _service(endpoint, token, ca_file) as (stub, metadata):
        explanation = stub.Explain(pb.ExplainRequest(id=id), metadata=metadata, timeout=TIMEOUT_S)
    if as_json:
        print(_line(explanation.recommendation))
    else:
        out.print(Markdown(explanation.text))


@app.command(epilog="Example: fallow recommendations watch --json | jq .title")
def watch(
    endpoint: Endpoint = DEFAULT,
    token: Token = "",
    ca_file: CaFile = None,
    after: Annotated[int, typer.Option(min=0, help="Revision to resume from; 0: from the first that is kept.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print every state change, those so far first, until Ctrl-C."""
    with _service(endpoint, token, ca_file) as (stub, metadata):
        for change in stub.Watch(pb.WatchRequest(after_revision=after), metadata=metadata):
            found = change.recommendation
            if as_json:
                print(
                    json.dumps({"revision": change.revision, **json.loads(_line(found))}, ensure_ascii=False),
                    flush=True,
                )
            else:
                text = f"{change.revision:>6}  {_state(found.state):<10} {found.action.kind:<10} {subject(found.target)}  {found.title}"
                out.print(f"{text}  [{found.id}]", markup=False)


def _decided(recommendation: Any, as_json: bool) -> None:
    if as_json:
        print(_line(recommendation))
    else:
        err.print(f"{recommendation.id} is {_state(recommendation.state)}.", markup=False)


@app.command(epilog="Example: fallow recommendations approve 3f9c… --reason 'talked to the owner'")
def approve(
    id: Id,
    endpoint: Endpoint = DEFAULT,
    token: Token = "",
    ca_file: CaFile = None,
    actor: Actor = "",
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Agree to a recommendation."""
    with _service(endpoint, token, ca_file) as (stub, metadata):
        request = pb.ApproveRequest(id=id, actor=actor, reason=reason)
        _decided(stub.Approve(request, metadata=metadata, timeout=TIMEOUT_S), as_json)


@app.command(epilog="Example: fallow recommendations dismiss 3f9c… --reason 'night job, starts at 02:00'")
def dismiss(
    id: Id,
    endpoint: Endpoint = DEFAULT,
    token: Token = "",
    ca_file: CaFile = None,
    actor: Actor = "",
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Decide that a recommendation will not be followed."""
    with _service(endpoint, token, ca_file) as (stub, metadata):
        request = pb.DismissRequest(id=id, actor=actor, reason=reason)
        _decided(stub.Dismiss(request, metadata=metadata, timeout=TIMEOUT_S), as_json)


@app.command(epilog="Example: fallow recommendations outcome 3f9c… success --gpu-seconds 7200")
def outcome(
    id: Id,
    result: Annotated[str, typer.Argument(metavar="RESULT", help="success, failure, no_effect or unknown.")],
    endpoint: Endpoint = DEFAULT,
    token: Token = "",
    ca_file: CaFile = None,
    gpu_seconds: Annotated[float | None, typer.Option(help="GPU-seconds that were saved, as measured.")] = None,
    note: Annotated[str, typer.Option(help="What happened.")] = "",
    actor: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Report what became of a recommendation."""
    measured = pb.Outcome(result=result, note=note, reporter=actor)
    if gpu_seconds is not None:
        measured.gpu_seconds_saved = gpu_seconds
    with _service(endpoint, token, ca_file) as (stub, metadata):
        request = pb.ReportOutcomeRequest(id=id, outcome=measured)
        _decided(stub.ReportOutcome(request, metadata=metadata, timeout=TIMEOUT_S), as_json)
