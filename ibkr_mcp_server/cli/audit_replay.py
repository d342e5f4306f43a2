"""`audit replay`: judges recorded decisions again, offline, from the log or an export; changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ibkr_mcp_server.audit.chain import ChainReader
from ibkr_mcp_server.audit.verify import records_of_export, records_of_store
from ibkr_mcp_server.cli.output import print_json
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, open_workspace, settings_of
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.safety.replay import DECISIONS, READ, Replay, Replayed


def replay(
    which: Annotated[
        str | None, typer.Argument(metavar="[SEQ|DECISION_ID]", help="The record's number, or the decision's id.")
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every decision of the log.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="An export, instead of the store.")
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Judge recorded decisions again, from their records alone, by the rules of this version.

    Tells the recorded verdict, the verdict now, and where they differ. Exits 1 when one differs, when one cannot be
    judged again, and when the chain of the log is broken.
    """
    if (which is None) is not all_of_them:
        raise typer.BadParameter("name one decision, or give --all.")
    chain = ChainReader()
    if file is None:
        with open_workspace(settings_of(env_file), read_only=True) as workspace:
            counts = workspace.database.read_blocking(
                lambda connection: _tell(records_of_store(connection, chain, READ), which, as_json=as_json)
            )
    else:
        try:
            with file.open(encoding="utf-8", errors="surrogateescape") as lines:
                counts = _tell(records_of_export(lines, chain, READ), which, as_json=as_json)
        except OSError as error:
            raise Unavailable(
                "EXPORT_UNREADABLE", f"{file} cannot be read: {error.strerror}.", next_step="Name an export of the log."
            ) from error
    judged, different = counts
    if which is not None and not judged:
        raise Refused(
            "NO_SUCH_DECISION",
            f"The log holds no decision {which}.",
            next_step="`audit tail --type DECISION` shows the newest ones; a refusal names its decision_id.",
        )
    typer.echo(f"Judged again: {judged}; with another verdict: {different}.", err=True)
    if chain.reason is not None:
        typer.echo(f"The chain of the log does NOT hold. {chain.reason}", err=True)
    if different or chain.reason is not None:
        raise typer.Exit(1)


def _tell(records: Iterable[Mapping[str, Any]], which: str | None, *, as_json: bool) -> tuple[int, int]:
    """Print each decision that is meant; returns how many there were, and how many differ."""
    log, judged, different = Replay(), 0, 0
    for record in records:
        if record["event_type"] not in DECISIONS:
            log.learn(record)
        elif which in (None, str(record["seq"]), record["decision_id"]):
            found = log.judged(record)
            judged, different = judged + 1, different + (not found.is_equal)
            if as_json:
                print_json(asdict(found), indent=None)
            else:
                _print(found)
    return judged, different


def _print(found: Replayed) -> None:
    verdict = "equal" if found.is_equal else "DIFFERENT"
    typer.echo(
        f"{found.seq}  {found.decision_id}  {found.tool}  {verdict}: recorded {found.recorded}, again {found.again}"
    )
    for difference in found.differences:
        typer.echo(f"    {difference}")
