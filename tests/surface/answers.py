"""What every answer of a tool must look like, and calls that need no gateway."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from ibkr_mcp_server.safety.codes import CODES
from ibkr_mcp_server.tools.server import listing
from tests.tool_examples import EXAMPLES, Lookup

ARGUMENTS: dict[str, dict[str, Any]] = {
    name: {key: value.without_gateway if isinstance(value, Lookup) else value for key, value in arguments.items()}
    for name, arguments in EXAMPLES.items()
}
"""With values that need no gateway."""
ANSWERS = {entry["name"]: Draft202012Validator(entry["outputSchema"]) for entry in listing()}
"""Made once: `jsonschema.validate` would check the schema itself at each call, which takes longer than the call."""
REFUSAL = Draft202012Validator(
    {
        "type": "object",
        "required": ["success", "venue", "at", "error", "code", "next_step"],
        "properties": {
            "success": {"const": False},
            "venue": {"enum": ["simulator", "paper", "live"]},
            "at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT.*Z$"},
            "error": {"type": "string", "minLength": 10, "maxLength": 600},
            "code": {"enum": [str(code) for code in CODES]},
            "check": {"type": "string"},
            "limit": {"type": "string"},
            "observed": {"type": "string"},
            "next_step": {"type": "string", "minLength": 10},
            "decision_id": {"type": "string"},
            "details": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "retry_after_s": {"type": "number", "minimum": 0},
        },
    }
)
"""TW-05."""


def fits(name: str, answer: dict[str, Any]) -> None:
    """The answer fits the tool's listed schema and, if it is one, the shape of refusals."""
    if name in ANSWERS:
        ANSWERS[name].validate(answer)
    if not answer["success"]:
        REFUSAL.validate(answer)
