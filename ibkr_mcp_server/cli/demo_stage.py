"""What the demo is played on: an agent that is a real MCP client, and a screen that shows each step and its proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mcp import Client
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

WIDTH = 100

Answer = Mapping[str, Any]  # Any: the JSON of a structured result


class Unexpected(Exception):
    """A step did not come out as expected; `answer` is what came instead."""

    def __init__(self, expected: str, answer: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.answer = answer


class Agent:
    """Calls tools over MCP and reads their structured results, as a host's model does."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def ask(self, tool: str, /, **arguments: object) -> Answer:
        """The result of one call, refusals included: these carry `success: false` and a code."""
        result = await self._client.call_tool(tool, arguments)
        answer = result.structured_content
        if not isinstance(answer, dict) or result.is_error is bool(answer.get("success")):
            raise Unexpected(f"{tool} answers with a structured result", result.content)
        return answer


class Stage:
    """Prints the steps, and stops the play at the first one that fails."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.steps = 0

    @property
    def _width(self) -> int:
        return min(self._console.width, WIDTH)

    def chapter(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(f"[bold]{escape(title)}[/]", align="left", style="blue"), width=self._width)

    def say(self, text: RenderableType) -> None:
        self._console.print(text, width=self._width)

    def step(
        self, actor: str, expected: str, answer: object, *, holds: Callable[[], bool], happened: Callable[[], str]
    ) -> None:
        """Show that `expected` came about; `holds` and `happened` read the answer.

        Raises:
            Unexpected: it did not, or the answer lacks what it should tell.
        """
        try:
            fine, told = holds(), happened()
        except (LookupError, TypeError, ValueError) as error:
            raise Unexpected(expected, answer) from error
        if not fine:
            raise Unexpected(expected, answer)
        self.steps += 1
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(width=1)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        line.add_row("[bold green]✓[/]", escape(expected), f"[cyan]{escape(actor)}[/]")
        self._console.print(line, width=self._width)
        self._console.print(Padding(f"[dim]{escape(told)}[/]", (0, 0, 0, 2)), width=self._width)

    def failed(self, failure: Unexpected) -> None:
        self._console.print(f"[bold red]✗ {escape(failure.expected)}[/]", width=self._width)
        text = json.dumps(failure.answer, indent=2, default=str, ensure_ascii=False)
        self._console.print(escape(f"This came instead:\n{text}"), width=self._width)
