"""`audit`: read, verify, export the audit log and judge its decisions again; changes nothing."""

from __future__ import annotations

import re
from dataclasses import asdict
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.audit.checkpoints import CheckpointFile, Newest
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.export import export_log
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.audit.parts import cores
from ibkr_mcp_server.audit.verify import VerifyReport, verify_database, verify_export
from ibkr_mcp_server.cli.audit_replay import replay
from ibkr_mcp_server.cli.output import console, print_json
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, existing_state, open_workspace, settings_of
from ibkr_mcp_server.errors import Refused, Unavailable

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Read, verify or export the audit log, or judge its decisions again.", no_args_is_help=True
    )
    group.command("tail")(show_tail)
    group.command("verify")(verify)
    group.command("export")(export)
    group.command("replay")(replay)
    app.add_typer(group, name="audit")


def show_tail(
    number: Annotated[int, typer.Option("-n", "--number", min=1, max=100_000, help="How many records.")] = 20,
    event_type: Annotated[EventType | None, typer.Option("--type", help="Only records of this type.")] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Print the newest records, the newest last; with --json one record a line."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        records = workspace.database.read_blocking(lambda connection: tail(connection, number, event_type))
    if as_json:
        for record in records:
            print_json(_fields(record), indent=None)
        return
    console().print(table_of(records))


def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; without it, the log in the store.")] = None,
    expect_head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="A head noted earlier; shows a cut-off tail or a rewritten chain."),
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Signed checkpoints to hold an export against; needs --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of the checkpoints.")] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Verify the chain of the log or of an export, offline, against its signed checkpoints.

    Exits 1, naming the first bad record or the missing tail, if it is broken.
    """
    expected = _head(expect_head)
    if file is None:
        settings = settings_of(env_file)
        places = settings.checkpoint_places(existing_state(settings))
        known = CheckpointFile(path=checkpoints or places[0], key=key or places[1]).newest()  # before the log is read
        with open_workspace(settings, read_only=True) as workspace:
            report = verify_database(workspace.database, expected_head=expected or known.head, processes=cores())
    else:
        if (checkpoints is None) != (key is None):
            raise typer.BadParameter("checkpoints of an export are read with their key: give both.")
        known = Newest(head=None)
        if checkpoints is not None and key is not None:
            known = CheckpointFile(path=checkpoints, key=key).newest()
        report = _verified_file(file, expected or known.head)
    if known.problem is not None and report.ok:
        report = replace_fields(report, ok=False, reason=known.problem)
    _tell(report, as_json=as_json, checkpoint=known.head)
    if not report.ok:
        raise typer.Exit(1)


def export(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where to; else IBKR_AUDIT_LOG_FILE says.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over an export that is there.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Write the whole log as JSON lines, readable by its owner only; exits 1 when its chain does not hold."""
    settings = settings_of(env_file)
    target = output or settings.audit_log_file
    if target is None:
        raise Refused(
            "NO_FILE_NAMED",
            "Nothing says where the export goes.",
            next_step="Name a file with --output, or set IBKR_AUDIT_LOG_FILE.",
        )
    with open_workspace(settings, read_only=True) as workspace:
        try:
            report = export_log(workspace.database, target, replace=replace)
        except OSError as error:
            raise Unavailable(
                "EXPORT_FAILED", f"{target} cannot be written: {error.strerror}.", next_step="Name another place."
            ) from error
    typer.echo(f"Wrote {target}")
    _tell(report, as_json=False)
    if not report.ok:
        raise typer.Exit(1)


def table_of(records: list[AuditRecord]) -> Table:
    """The records as people read them, one a line."""
    table = Table("Seq", "Time (UTC)", "Event", "Actor", "About", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for record in records:
        cells = (f"{record.timestamp:%m-%d %H:%M:%S}", record.event_type.value, str(record.actor["id"]), about(record))
        table.add_row(str(record.seq), *(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    return table


_TOLD = (
    "mode",
    "reason",
    "status",
    "average_fill_price",
    "price",
    "text",
    "failures",
    "operator",
    "version",
    "message",
)
"""The parts of an outcome that a line has room for."""


def about(record: AuditRecord) -> str:
    """What the record is about, in a few words; the JSON has everything."""
    asked, outcome = record.order_data or {}, record.outcome or {}
    order = _order(asked) or _order(asked.get("order") or {}) or _order(outcome)
    words = [order or record.tool or ""]
    if "approved" in outcome:
        words.append("approved" if outcome["approved"] else f"refused: {', '.join(outcome['codes'])}")
    told = {name: outcome[name] for name in _TOLD if outcome.get(name) not in (None, "")}
    words += [f"{name} {value}" if isinstance(value, int) else str(value) for name, value in told.items()]
    return "  ".join(word for word in words if word)


def _order(order: dict[str, Any]) -> str:  # Any: whatever JSON was recorded
    named = ("side", "quantity", "symbol", "instrument", "order_type", "limit_price")
    kind = "" if order.get("kind") in (None, "place") else order["kind"]
    return " ".join([kind, *(str(order[name]) for name in named if order.get(name))]).strip()


def str_of(head: Head) -> str:
    """The head as `--expect-head` takes it."""
    return f"{head.seq}:{head.hash}"


def _fields(record: AuditRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            "write it as `audit verify` prints it: the record's number, a colon, and 64 hexadecimal digits.",
            param_hint="--expect-head",
        )
    return Head(int(found[1]), found[2])


def _verified_file(file: Path, expected: Head | None) -> VerifyReport:
    try:
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            return verify_export(lines, expected_head=expected)
    except OSError as error:
        raise Unavailable(
            "EXPORT_UNREADABLE", f"{file} cannot be read: {error.strerror}.", next_step="Name an export of the log."
        ) from error


def _tell(report: VerifyReport, *, as_json: bool, checkpoint: Head | None = None) -> None:
    if as_json:
        newest = None if checkpoint is None else str_of(checkpoint)
        print_json({**asdict(report), "head": str_of(report.head), "checkpoint": newest})
    elif report.ok:
        typer.echo(f"The audit log is whole: {report.records} records of {report.sessions} runs.")
        typer.echo(f"Head {str_of(report.head)}")
        if checkpoint is not None:
            typer.echo(f"It agrees with the signed checkpoints, the newest of record {checkpoint.seq}.")
        typer.echo("Note the head elsewhere; --expect-head proves later that nothing was cut off.")
    elif report.first_bad_seq is None:
        typer.echo(f"The audit log cannot be trusted. {report.reason}", err=True)
    else:
        typer.echo(f"The audit log is NOT whole; record {report.first_bad_seq} is the first bad one.", err=True)
        typer.echo(f"{report.reason} The {report.records} records before it fit.", err=True)
