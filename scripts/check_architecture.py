"""Holds the arrows of the architecture: which room may import which, and who may make an approval.

Run by `make check`. Exits 1 and names each import that points back.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = "ibkr_mcp_server"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

LEAVES = {"clock", "errors", "waits", "__init__"}
ARROWS: dict[str, set[str]] = {
    "clock": set(),
    "errors": set(),
    "waits": {"clock"},
    "__init__": set(),
    "domain": set(),
    "settings": {"domain", "state_dir", *LEAVES},
    "state_dir": LEAVES,
    "agents": {"domain", "settings", "state_dir", *LEAVES},
    "log": {"audit", "state_dir", *LEAVES},
    "store": {"domain", "state_dir", *LEAVES},
    "audit": {"store", "domain", *LEAVES},
    "alerts": {"audit", "store", "domain", "settings", "log", *LEAVES},
    "broker": {"domain", "log", *LEAVES},
    "simulator": {"clock"},
    "safety": {
        "broker.base", "audit", "store", "domain", "settings", "state_dir", "log", *LEAVES
    },
    "operations": {
        "safety", "alerts", "broker.base", "broker.reconcile", "audit", "store", "domain", "settings",
        "log", *LEAVES,
    },
    "tools": {
        "agents", "app", "operations", "safety", "broker.base", "store", "audit", "domain", "settings", "state_dir",
        "log", *LEAVES,
    },
    "control": {
        "app", "operations", "safety", "alerts", "broker.base", "store", "audit", "domain", "settings",
        "log", *LEAVES,
    },
    "app": {
        "agents", "operations", "safety", "alerts", "broker", "simulator", "audit", "store", "domain", "settings",
        "state_dir", "log", *LEAVES,
    },
    "cli": {
        "agents", "app", "control", "tools", "operations", "safety", "alerts", "broker.base", "simulator", "audit",
        "store", "domain", "settings", "state_dir", "log", *LEAVES,
    },
    "kill_switch": {"cli", "safety", "store", "domain", *LEAVES},
    "__main__": {"cli", *LEAVES},
}  # fmt: skip
"""Room → what it may import besides itself. `broker.base` is the seam; the rest of `broker/` is its own affair."""

APPROVALS = {"ApprovedOrder", "ApprovedBracket", "ApprovedModification", "ApprovedCancellation"}
APPROVAL_MAKER = "safety/approvals.py"
APPROVER = "safety/manager.py"
"""The only module that may ask for an approval."""
CLIENT_LIBRARIES = {"ib_async", "ib_insync", "ibapi"}
LIBRARY_HOME = "broker/library.py"


def main() -> int:
    problems = [found for path in sorted(ROOT.rglob("*.py")) for found in problems_of(path)]
    for found in problems:
        print(found, file=sys.stderr)
    print(f"architecture: {len(problems)} problem(s)")
    return 1 if problems else 0


def problems_of(path: Path) -> list[str]:
    relative = path.relative_to(ROOT)
    room = relative.parts[0].removesuffix(".py")
    if room not in ARROWS:
        return [f"{relative}: the room {room!r} is not in ARROWS; say what it may import"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        for module, line in _imports(node):
            found += _import_problems(relative, room, module, line)
        if isinstance(node, ast.Call) and _name(node.func) in APPROVALS and relative.as_posix() != APPROVAL_MAKER:
            found.append(f"{relative}:{node.lineno}: only {APPROVAL_MAKER} makes {_name(node.func)}")
    return found


def _imports(node: ast.AST) -> list[tuple[str, int]]:
    if isinstance(node, ast.Import):
        return [(alias.name, node.lineno) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if module == PACKAGE:
            return [
                (f"{PACKAGE}.{alias.name}" if alias.name != "__version__" else PACKAGE, node.lineno)
                for alias in node.names
            ]
        return [(module, node.lineno)]
    return []


def _import_problems(path: Path, room: str, module: str, line: int) -> list[str]:
    if module.split(".")[0] in CLIENT_LIBRARIES and path.as_posix() != LIBRARY_HOME:
        return [f"{path}:{line}: {module} may be imported in {LIBRARY_HOME} only"]
    if not module.startswith(f"{PACKAGE}."):
        return []
    target = module.removeprefix(f"{PACKAGE}.").split(".")
    if "/".join(target) == APPROVAL_MAKER.removesuffix(".py") and path.as_posix() != APPROVER:
        return [f"{path}:{line}: only {APPROVER} approves"]
    if target[0] == room or target[0] in ARROWS[room] or ".".join(target[:2]) in ARROWS[room]:
        return []
    return [f"{path}:{line}: {room} may not import {module}; arrows point one way (docs/architecture.md)"]


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


if __name__ == "__main__":
    sys.exit(main())
