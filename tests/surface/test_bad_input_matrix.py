"""Bad input of every kind for every argument of every tool: a structured refusal, nothing on the wire, and it goes on.

The kinds come from the listed schemas, so a new tool or argument is tried without being named here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.toolsets import Toolset
from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.registry import Tool
from tests.harness import World, running
from tests.surface.answers import ARGUMENTS, REFUSAL
from tests.surface.shell import Shell
from tests.tool_examples import LISTINGS

HOSTILE_TEXTS: tuple[Any, ...] = ("A\x00B", "AAPL\r\nX", "\x1b[31mAAPL", "AAPL\u202e", "\ud83d\udca5", "A" * 100_000)
"""Control characters, an escape sequence, a reversal of direction, a picture, and far too much."""
WRONG: dict[str, tuple[Any, ...]] = {
    "string": (*HOSTILE_TEXTS, 1, True, ["AAPL"], {"symbol": "AAPL"}),
    "number": ("1", "1e3", True, [1], {}, -1, -0.01, 0, 1e300, 10**400, 2e12, 1e-300),
    "integer": ("1", True, [1], {}, -1, 0, 1.5, 2**70, 10**400),
    "boolean": ("true", "yes", 1, 0, [], {}),
    "object": ("{}", 1, True, [], ["symbol"]),
    "array": ("AAPL", [], [1], [None], ["A\x00B"], [["AAPL"]], {}, 1, True, ["AAPL"] * 51),
}
COMMANDS = ("CLEAR_CACHE", "__import__('os')", "$(reboot)", "'; DROP TABLE intents;--", "../../etc/passwd", "{{7*7}}")
"""What other software takes for more than a symbol (FD-58)."""

PARTICULAR = [
    tool for tool in TOOLS if tool.arguments.model_fields and tool.operation_class is not OperationClass.SAFETY_STOP
]
OF_INSTRUMENTS = [tool for tool in PARTICULAR if tool.arguments.model_fields.keys() & {"symbol", "symbols"}]
in_each_toolset = pytest.mark.parametrize("toolset", sorted({tool.toolset for tool in PARTICULAR}))
"""Starting a server takes as long as a dozen calls: one serves all tools of a set."""


def _argument(name: str, schema: dict[str, Any]) -> tuple[str, str]:
    """Its name and what it admits, whatever the words that describe it."""
    admits = {key: part for key, part in schema.items() if key not in ("description", "title")}
    return name, json.dumps(admits, sort_keys=True)


def _first_tools() -> dict[tuple[str, str], str]:
    """The first tool that has an argument of such a name and schema: the others read it by the same code."""
    first: dict[tuple[str, str], str] = {}
    for tool in PARTICULAR:
        for name, schema in LISTINGS[tool.name]["inputSchema"]["properties"].items():
            first.setdefault(_argument(name, schema), tool.name)
    return first


FIRST_TOOLS = _first_tools()


def _bad(tool: Tool) -> Iterator[tuple[str, Any]]:
    """Each argument with each value that its schema does not admit, and an argument that there is not.

    Where another tool had the very same argument, the first two of them do.
    """
    yield "nonsense", 1
    yield "AAPL\x00", {}
    for name, schema in LISTINGS[tool.name]["inputSchema"]["properties"].items():
        wrong = [value for value in WRONG[schema["type"]] if not _admits(schema, value)]
        is_first = FIRST_TOOLS[_argument(name, schema)] == tool.name
        yield from ((name, value) for value in (wrong if is_first else wrong[:2]))
        if "enum" in schema:
            yield name, schema["enum"][0].lower() + "x"
        if "maximum" in schema:
            yield name, schema["maximum"] + 1


def _admits(schema: dict[str, Any], value: Any) -> bool:
    """Whether the argument may be so: 0 for an offset, no filters at all. Text is tried whatever its schema says."""
    return not isinstance(value, str) and jsonschema.Draft202012Validator(schema).is_valid(value)


async def _refused(world: World, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = await world.call_with(tool.name, arguments)
    REFUSAL.validate(answer)
    assert len(json.dumps(answer)) < 6_000
    assert str((answer["error"], answer.get("details"))).isprintable()
    return answer


@in_each_toolset
async def test_every_wrong_value_of_every_argument_is_a_structured_refusal(toolset: Toolset) -> None:
    """ORD-01, ORD-22, TW-05, TW-10, FD-36: recorded once each; the tool works afterwards as it did before."""
    tools = [tool for tool in PARTICULAR if tool.toolset is toolset]
    async with running(enable_stop_loss_orders=True) as world:
        asked: Counter[str] = Counter()
        for tool in tools:
            for name, value in _bad(tool):
                answer = await _refused(world, tool, ARGUMENTS[tool.name] | {name: value})
                codes = _told(answer)
                expected = {"UNKNOWN_ARGUMENT"} if name not in tool.arguments.model_fields else _codes_of(name)
                assert codes & expected, (tool.name, name, value, answer)
                asked[tool.name] += 1
        assert world.gateway.received_writes == []
        decisions = [record for record in await world.decisions() if record.tool in asked]
        assert Counter(record.tool for record in decisions) == asked
        assert not any(record.outcome["approved"] for record in decisions if record.outcome["codes"])
        assert [one for one in await world.judged_again() if not one.is_equal] == []  # AUD-09
        for tool in tools:
            await world.clock.advance(1)  # so many messages may leave in a second
            good = await world.call_with(tool.name, ARGUMENTS[tool.name])
            assert good.get("code") not in ("INVALID_ARGUMENTS", "INTERNAL_ERROR", "UNKNOWN_ARGUMENT"), tool.name
        assert (await world.call("get_connection_status"))["link"]["is_up"] is True


def _codes_of(name: str) -> set[str]:
    """The codes that a fault of an argument may have; each says what kind of thing is wrong."""
    own = {"quantity": "INVALID_QUANTITY", "action": "INVALID_SIDE", "symbol": "INVALID_SYMBOL",
           "symbols": "INVALID_SYMBOL", "good_till_date": "GOOD_TILL_DATE", "tool_name": "UNKNOWN_TOOL"}  # fmt: skip
    is_price = name.startswith("trailing") or name.endswith(("_price", "_offset"))
    return {
        "INVALID_PRICE" if is_price else own.get(name, "INVALID_ARGUMENTS"),
        "INVALID_ARGUMENTS",
        "TOO_MANY_SYMBOLS",
    }


async def test_a_symbol_that_is_none_or_several_is_refused_and_never_interpreted() -> None:
    """ORD-04, FD-50, FD-58: unknown, ambiguous, or what other software takes for a command."""
    async with running(enable_international_trading=True) as world:
        for tool in OF_INSTRUMENTS:
            codes = {}
            for symbol in ("ZZZZ", "URW"):
                await world.clock.advance(2)  # the broker takes one search a second
                codes[symbol] = _told(await world.call_with(tool.name, _naming(tool, symbol)))
            for symbol in COMMANDS:  # no symbols, so that nobody is asked about them
                codes[symbol] = _told(await world.call_with(tool.name, _naming(tool, symbol)))
            assert "CONTRACT_NOT_FOUND" in codes.pop("ZZZZ"), tool.name
            # Where only pairs or options are meant, a share without either is nothing.
            no_share = tool.operation_class is OperationClass.FOREX or tool.name == "get_option_quotes"
            several = "CONTRACT_NOT_FOUND" if no_share else "CONTRACT_AMBIGUOUS"
            assert several in codes.pop("URW"), tool.name
            assert all("INVALID_SYMBOL" in found for found in codes.values()), (tool.name, codes)
        assert world.gateway.received_writes == []


def _naming(tool: Tool, symbol: str) -> dict[str, Any]:
    """The good call of a tool, but about that symbol."""
    is_one = "symbol" in tool.arguments.model_fields
    return ARGUMENTS[tool.name] | ({"symbol": symbol} if is_one else {"symbols": [symbol]})


def _told(answer: dict[str, Any]) -> set[str]:
    """The codes of a refusal, or of a preview's verdicts; a tool that resolves tells the candidates as its answer."""
    if answer["success"] and "instrument" not in answer and len(answer.get("candidates", ())) > 1:
        return {"CONTRACT_AMBIGUOUS"}
    verdicts = [found["code"] for verdict in answer.get("verdicts", ()) for found in verdict["problems"]]
    return {detail.partition(":")[0] for detail in answer.get("details", ())} | set(verdicts) | {answer.get("code", "")}


# ---- what only raw lines can carry

RAW: tuple[tuple[str, str | None], ...] = (
    ('{"symbol":"AAPL","action":"BUY","quantity":NaN,"limit_price":100}', "INVALID_QUANTITY"),
    ('{"symbol":"AAPL","action":"BUY","quantity":Infinity,"limit_price":100}', "INVALID_QUANTITY"),
    ('{"symbol":"AAPL","action":"BUY","quantity":1e999,"limit_price":100}', "INVALID_QUANTITY"),
    ('{"symbol":"AAPL","action":"BUY","quantity":1,"limit_price":-Infinity}', "INVALID_PRICE"),
    ('{"symbol":"AAPL","action":"BUY","quantity":1,"limit_price":' + "9" * 4_000 + "}", "INVALID_PRICE"),
    ('{"symbol":"AAPL","action":"BUY","quantity":1,"limit_price":100,"quantity":"1"}', "INVALID_QUANTITY"),
    ("null", "INVALID_ARGUMENTS"),
    # What is no JSON, or no object, is not a call: the protocol's library answers it, if it can.
    ('{"symbol":"\\ud800","action":"BUY","quantity":1,"limit_price":100}', None),
    ('{"symbol":' + "[" * 2_000 + "]" * 2_000 + "}", None),
    ('["AAPL","BUY",1,100]', None),
    ('{"symbol":"AAPL",', None),
)
"""Arguments as they stand in the line, and the code of the refusal."""


async def test_raw_lines_that_are_hardly_json_place_nothing_and_the_next_call_works(shell: Shell) -> None:
    """Over stdio, where the client's own library does not stand between."""
    file = shell.state / "server.log"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ibkr_mcp_server", "serve"),
        env=shell.environment | {"IBKR_ENABLE_TRADING": "true", "IBKR_LOG_FILE": str(file)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told: dict[int, dict[str, Any]] = {}
    try:
        async with asyncio.timeout(100):
            process.stdin.write(HELLO)
            answer = json.loads(await process.stdout.readline())
            while "daily_stats" not in answer["result"].get("structuredContent", {}):  # it is starting
                await asyncio.sleep(0.1)
                process.stdin.write(_status(2))
                answer = json.loads(await process.stdout.readline())
            for number, (arguments, code) in enumerate(RAW, start=100):
                call = f'{{"name":"place_limit_order","arguments":{arguments}}}'
                line = f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{call}}}\n'
                process.stdin.write(line.encode() + _status(number * 10))
                awaited = {number, number * 10} if code else {number * 10}
                while not awaited <= told.keys():
                    answer = json.loads(await process.stdout.readline())
                    told[answer.get("id")] = answer
                status = told[number * 10]["result"]["structuredContent"]
                assert status["daily_stats"]["opening_orders"] == 0, arguments
                if code is not None:
                    refusal = told[number]["result"]["structuredContent"]
                    REFUSAL.validate(refusal)
                    assert (told[number]["result"]["isError"], refusal["code"]) == (True, code), refusal
            process.stdin.close()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert "Traceback" not in file.read_text(encoding="utf-8")


HELLO = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)


def _status(number: int) -> bytes:
    params = {"name": "get_safety_status", "arguments": {}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode() + b"\n"
