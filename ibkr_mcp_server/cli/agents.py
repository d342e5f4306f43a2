"""`agents`: who may call over HTTP with a token of their own, and the tighter limits of single agents."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from ibkr_mcp_server.agents import Agent, load_agents, looser, read_agents, with_new_token, write_agents
from ibkr_mcp_server.cli.output import console, print_json
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, existing_state, settings_of
from ibkr_mcp_server.domain.agents import AGENT_NAME, AgentLimits
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.rules import PLAIN_NUMBER
from ibkr_mcp_server.state_dir import open_state_directory

Name = Annotated[str, typer.Argument(help="The agent: a-z, 0-9, - and _.")]
PerMinute = Annotated[int | None, typer.Option(min=1, help="Its opening orders in any 60 seconds.")]
PerDay = Annotated[int | None, typer.Option(min=1, help="Its opening orders in one trading day.")]
Value = Annotated[str | None, typer.Option(metavar="USD", help="The value of one of its opening orders.")]
AT_THE_NEXT_START = "Running servers notice at their next start."


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Agents with a token and limits of their own.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("remove")(remove)
    app.add_typer(group, name="agents")


def add(
    name: Name,
    orders_per_minute: PerMinute = None,
    orders_per_day: PerDay = None,
    order_value: Value = None,
    token: Annotated[bool, typer.Option(help="Make it a token for HTTP; one over stdio needs none.")] = True,
    env_file: EnvFile = None,
) -> None:
    """Name an agent, or give one anew its token and limits. The token is printed once and kept as a hash only."""
    settings = settings_of(env_file)
    state = open_state_directory(settings.state_directory)
    if not AGENT_NAME.fullmatch(name):
        raise ConfigurationError([f"The name {name!r} must be 1 to 32 characters a-z, 0-9, - and _."])
    limits = AgentLimits(
        max_orders_per_minute=orders_per_minute,
        max_daily_orders=orders_per_day,
        max_order_value_usd=None if order_value is None else _dollars(order_value),
    )
    agent, secret = Agent(name=name, limits=limits), None
    if problems := looser(agent, settings):
        raise ConfigurationError(problems)
    if token:
        agent, secret = with_new_token(agent)
    others = [other for other in read_agents(state.agents) if other.name != name]
    write_agents(state.agents, [*others, agent])
    if secret is not None:
        typer.echo(secret)
        typer.echo(f"That is the bearer token of {name}; it is not shown again. {AT_THE_NEXT_START}", err=True)
    else:
        typer.echo(f"{name} is named. Start its server with: serve --agent {name}. {AT_THE_NEXT_START}", err=True)


def list_all(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Print the agents with their limits."""
    settings = settings_of(env_file)
    agents = load_agents(existing_state(settings).agents, settings)
    if as_json:
        print_json([agent.redacted for agent in agents])
        return
    from rich.table import Table

    table = Table("Agent", "Token", "Orders/min", "Orders/day", "Order value", box=None, padding=(0, 2, 0, 0))
    for agent in agents:
        told = (
            agent.limits.max_orders_per_minute, agent.limits.max_daily_orders, agent.limits.max_order_value_usd
        )  # fmt: skip
        table.add_row(
            agent.name, "yes" if agent.token_sha256 else "–", *("–" if one is None else str(one) for one in told)
        )
    console().print(table)


def remove(name: Name, env_file: EnvFile = None) -> None:
    """Take an agent's token and limits away; its orders and records stay."""
    settings = settings_of(env_file)
    state = open_state_directory(settings.state_directory)
    agents = read_agents(state.agents)
    left = [agent for agent in agents if agent.name != name]
    if len(left) == len(agents):
        raise ConfigurationError([f"There is no agent {name!r}; `ibkr-mcp-server agents list` prints all."])
    write_agents(state.agents, left)
    typer.echo(f"{name} has no token and no limits of its own any more. {AT_THE_NEXT_START}", err=True)


def _dollars(text: str) -> Decimal:
    if not PLAIN_NUMBER.fullmatch(text):
        raise ConfigurationError([f"The order value {text!r} must be an amount in US dollars."])
    return Decimal(text)
