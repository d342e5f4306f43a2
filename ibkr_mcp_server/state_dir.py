"""The private directory that holds everything durable, and the names of what lies in it.

Whoever can write here can end a stop or undo a limit, so the directory must belong to the service user alone
(CFG-20). Windows has neither numeric owners nor mode bits; there the access list that the directory inherits from
the user's profile keeps others out, and the checks of owner and mode do not apply.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ibkr_mcp_server.errors import ConfigurationError

HAS_OWNERS_AND_MODES = os.name == "posix"


@dataclass(frozen=True, kw_only=True)
class StateDirectory:
    """A state directory that was found private."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "state.db"

    @property
    def sentinel(self) -> Path:
        """Trading is stopped while this file exists; anyone who may write here can create it by hand."""
        return self.path / "KILL"

    @property
    def send_lock(self) -> Path:
        return self.path / "send.lock"

    @property
    def operator(self) -> Path:
        """What proves the operators' passphrases; never a passphrase itself."""
        return self.path / "operator.json"

    @property
    def operator_lock(self) -> Path:
        return self.operator.with_suffix(".lock")

    @property
    def http_token(self) -> Path:
        return self.path / "http.token"

    @property
    def agents(self) -> Path:
        """Named agents: hashes of their tokens, and their limits."""
        return self.path / "agents.json"

    @property
    def audit_key(self) -> Path:
        """Signs the checkpoints of the audit log."""
        return self.path / "audit.key"

    @property
    def audit_checkpoints(self) -> Path:
        return self.path / "audit-checkpoints.jsonl"

    @property
    def gateway_lock(self) -> Path:
        return self.path / "paper-gateway.lock"

    @property
    def gateway_world(self) -> Path:
        """Directory with the accounts, orders and executions of the built-in paper gateway."""
        return self.path / "paper-gateway"

    @property
    def own_files(self) -> tuple[Path, ...]:
        """Names that no log may take."""
        return (
            self.database,
            self.sentinel,
            self.send_lock,
            self.operator,
            self.operator_lock,
            self.http_token,
            self.agents,
            self.gateway_lock,
            self.gateway_world,
        )


def open_state_directory(path: Path, *, allow_temporary: bool = False) -> StateDirectory:
    """Create the directory if need be, make sure that it is private, and set its files to 0600.

    `allow_temporary` lets a test use pytest's `tmp_path`. It is deliberately no setting and no command-line option:
    a stop that a reboot erases is none. A test that starts the program as a process uses a directory under the
    repository's ignored `.state/` instead.

    Raises:
        ConfigurationError: it is not private, or cannot be made; says what to do.
    """
    problems = state_directory_problems(path, allow_temporary=allow_temporary)
    if problems:
        raise ConfigurationError(problems)
    directory = StateDirectory(path=path)
    try:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Somebody may have been faster, or the umask wider than thought: what is there now is what counts.
        problems = state_directory_problems(path, allow_temporary=allow_temporary) or _tighten_files(directory)
    except OSError as error:
        problems = [f"The state directory {path} cannot be opened: {error.strerror}."]
    if problems:
        raise ConfigurationError(problems)
    return directory


def state_directory_problems(path: Path, *, allow_temporary: bool = False) -> list[str]:
    """Why `path` cannot be the state directory; creates and changes nothing."""
    if not path.is_absolute():
        return [f"The state directory {path} must be an absolute path."]
    problems = []
    if not allow_temporary and (temporary := _temporary_directory_of(path)):
        problems.append(
            f"The state directory {path} lies in the temporary directory {temporary}, which others can write to and "
            "a reboot may erase. Choose another place with IBKR_STATE_DIR."
        )
    try:
        return problems + _ancestor_problems(path) + (_entry_problems(path) if os.path.lexists(path) else [])
    except OSError as error:
        return [*problems, f"The state directory {path} cannot be examined: {error.strerror}."]


def write_private(path: Path, text: str) -> None:
    """Put `text` into the file as one step: a reader or a crash sees the old content or the new, never a part.

    The file is 0600 from its first byte, and on the disk when this returns.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes files of mode 0600
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def ensure_private_file(path: Path) -> None:
    """Create an empty 0600 file unless there is one, for libraries that would create it readable by others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _temporary_directory_of(path: Path) -> Path | None:
    resolved = Path(os.path.realpath(path))
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - named to be refused
        if resolved.is_relative_to(os.path.realpath(root)):
            return Path(root)
    return None


def _ancestor_problems(path: Path) -> list[str]:
    """A directory above that anyone can write to lets anyone exchange this one; a sticky bit prevents that."""
    if not HAS_OWNERS_AND_MODES:
        return []
    return [
        f"The state directory {path} lies in {ancestor}, which every user can write to. Choose another place with "
        "IBKR_STATE_DIR."
        for ancestor in Path(os.path.realpath(path)).parents
        if ancestor.exists() and ancestor.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
    ]


def _entry_problems(path: Path) -> list[str]:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return [f"The state directory {path} is a symbolic link. Set IBKR_STATE_DIR to the directory itself."]
    if not stat.S_ISDIR(found.st_mode):
        return [f"The state directory {path} is not a directory. Move that file away, or set IBKR_STATE_DIR."]
    if not HAS_OWNERS_AND_MODES:
        return []
    if found.st_uid != os.geteuid():
        return [
            f"The state directory {path} belongs to user number {found.st_uid}, and this program runs as "
            f"{os.geteuid()}. Run it as the owner, or choose another directory with IBKR_STATE_DIR."
        ]
    if stat.S_IMODE(found.st_mode) & 0o077:
        return [
            f"Other users can reach the state directory {path} (mode {stat.S_IMODE(found.st_mode):04o}). "
            f"Check what lies in it, then run: chmod 700 '{path}'"
        ]
    return []


def _tighten_files(directory: StateDirectory) -> list[str]:
    """Take away what others may do with our files; a link or a foreign file in our place is a problem.

    The sentinel is left as it is: a stop must work however the file came about.
    """
    if not HAS_OWNERS_AND_MODES:
        return []
    problems = []
    for path in (directory.database, directory.send_lock, directory.operator, directory.http_token, directory.agents):
        if not os.path.lexists(path):
            continue
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            problems.append(f"{path} is not a file of this user. Move it away and find out who put it there.")
        elif stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o600)
    return problems


def _sync_directory(path: Path) -> None:
    if not HAS_OWNERS_AND_MODES:
        return  # Windows cannot open a directory as a file; replacing is durable with the file's own sync
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
