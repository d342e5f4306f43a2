"""The state directory: private, lasting, and refused otherwise."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.state_dir import (
    StateDirectory,
    ensure_private_file,
    open_state_directory,
    state_directory_problems,
    write_private,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither numeric owners nor mode bits")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_state_directory(path, allow_temporary=True)
    return str(caught.value)


def test_a_missing_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    directory = open_state_directory(tmp_path / "a" / "state", allow_temporary=True)

    assert directory.path.is_dir()
    if os.name == "posix":
        assert mode_of(directory.path) == 0o700
    assert open_state_directory(directory.path, allow_temporary=True) == directory


def test_every_file_has_its_own_well_known_place(tmp_path: Path) -> None:
    names = [path.name for path in StateDirectory(path=tmp_path).own_files]

    assert names == [
        "state.db", "KILL", "send.lock", "operator.json", "operator.lock", "http.token", "agents.json",
        "paper-gateway.lock",
        "paper-gateway",
    ]  # fmt: skip
    assert all(path.parent == tmp_path for path in StateDirectory(path=tmp_path).own_files)


@pytest.mark.parametrize("root", [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"])
def test_a_temporary_directory_is_refused_and_left_untouched(root: str) -> None:
    path = Path(root) / "ibkr-mcp-server-never-made" / "state"

    with pytest.raises(ConfigurationError, match="temporary directory") as caught:
        open_state_directory(path)

    assert "IBKR_STATE_DIR" in str(caught.value)
    assert not path.parent.exists()


def test_a_way_around_through_dots_is_seen(tmp_path: Path) -> None:
    assert state_directory_problems(Path("/usr/../tmp/state"))


def test_a_relative_path_is_refused() -> None:
    assert "absolute" in refused(Path("state"))


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    assert "symbolic link" in refused(tmp_path / "link")
    assert "symbolic link" in refused(tmp_path / "dangling")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "not a directory" in refused(tmp_path / "file")
    assert "cannot be" in refused(tmp_path / "file" / "state")


@posix_only
@pytest.mark.parametrize("mode", [0o777, 0o755, 0o710, 0o701, 0o770])
def test_a_directory_that_others_can_reach_is_refused_and_not_repaired_silently(tmp_path: Path, mode: int) -> None:
    """What lies in it may have been changed already, so a human should look."""
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)

    assert f"chmod 700 '{path}'" in refused(path)
    assert mode_of(path) == mode


@posix_only
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    if os.geteuid() == 0:
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
    else:
        path = Path("/usr")  # root's everywhere

    assert "belongs to user number" in refused(path)


@posix_only
def test_a_directory_whose_parent_anyone_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)

    assert "every user can write to" in refused(tmp_path / "shared" / "state")
    assert not (tmp_path / "shared" / "state").exists()


@posix_only
def test_own_files_are_closed_to_others(tmp_path: Path) -> None:
    directory = open_state_directory(tmp_path / "state", allow_temporary=True)
    for path in (directory.database, directory.operator, directory.http_token, directory.send_lock):
        path.touch()
        path.chmod(0o644)

    open_state_directory(directory.path, allow_temporary=True)

    for path in (directory.database, directory.operator, directory.http_token, directory.send_lock):
        assert mode_of(path) == 0o600


@posix_only
def test_a_link_in_the_place_of_an_own_file_is_refused(tmp_path: Path) -> None:
    directory = open_state_directory(tmp_path / "state", allow_temporary=True)
    directory.operator.symlink_to("/etc/passwd")

    assert "operator.json" in refused(directory.path)


@posix_only
def test_a_stop_file_counts_however_it_was_made(tmp_path: Path) -> None:
    directory = open_state_directory(tmp_path / "state", allow_temporary=True)
    directory.sentinel.touch()
    directory.sentinel.chmod(0o666)

    assert open_state_directory(directory.path, allow_temporary=True).sentinel.exists()


def test_looking_for_problems_creates_nothing(tmp_path: Path) -> None:
    assert state_directory_problems(tmp_path / "state", allow_temporary=True) == []
    assert not (tmp_path / "state").exists()


def test_write_private_replaces_the_whole_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "operator.json"
    path.write_text("a much longer old content")
    path.chmod(0o644)

    write_private(path, "new ü\n")

    assert path.read_bytes() == "new ü\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["operator.json"]
    if os.name == "posix":
        assert mode_of(path) == 0o600


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "operator.json"
    write_private(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(path, "half \udc80")

    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["operator.json"]


@posix_only
def test_write_private_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("keep")
    (tmp_path / "token").symlink_to(tmp_path / "target")

    write_private(tmp_path / "token", "secret")

    assert (tmp_path / "target").read_text() == "keep"
    assert not (tmp_path / "token").is_symlink()


def test_ensure_private_file_makes_an_empty_private_file_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    ensure_private_file(path)
    if os.name == "posix":
        assert mode_of(path) == 0o600
    path.write_text("content")
    ensure_private_file(path)

    assert path.read_text() == "content"
