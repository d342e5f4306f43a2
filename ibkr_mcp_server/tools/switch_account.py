"""The tool that chooses the account which later calls mean."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import account as operations
from ibkr_mcp_server.tools.arguments import Account, Arguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import AccountId, Facts, Unknown


class SwitchArguments(Arguments):
    account: Account = Field(description="One of get_accounts")


class SwitchFacts(Facts):
    account: AccountId
    previous_account: AccountId
    accounts_verified_at: datetime | Unknown = None


async def switch_account(call: Call, arguments: SwitchArguments) -> Reply:
    answer = await operations.switch_account(call.operation(account=arguments.account), call.desk)
    found = answer.result
    assert found is not None
    facts = SwitchFacts(
        account=found.account, previous_account=found.previous, accounts_verified_at=found.accounts_verified_at
    )
    return Reply(decision=answer.decision, facts=facts)


TOOLS = (
    Tool(
        name="switch_account",
        title="Switch the account",
        description="Makes another account of this link the one that later calls mean when they name none, for all "
        "clients of this server, until it ends. Refused, and nothing changes, unless the broker lists the account and "
        "the operator's configuration accepts it. To read another account once, give its id as `account` instead.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_MANAGEMENT,
        arguments=SwitchArguments,
        facts=SwitchFacts,
        handler=switch_account,
    ),
)
