"""Where a SQLite database may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibkr_mcp_server.store import file_systems, sqlite
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.errors import StoreUnreadable
from ibkr_mcp_server.store.file_systems import network_file_system

LINES = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 21 0:40 / /mnt/my\\040share rw - nfs4 server:/export rw
36 35 8:2 / /mnt/my\\040share/disk rw - xfs /dev/sdb rw
37 21 0:41 / /srv rw - fuse.sshfs host:/ rw
nonsense
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(LINES)
    return path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/ann/state", None),
        ("/mnt/my share/state", "nfs4"),
        ("/mnt/my share", "nfs4"),
        ("/mnt/my share/disk/state", None),
        ("/mnt/my shared", None),
        ("/srv/state", "fuse.sshfs"),
    ],
)
def test_the_mount_nearest_above_says_what_a_path_lies_on(mounts: Path, path: str, found: str | None) -> None:
    assert network_file_system(Path(path), mounts) == found
    assert network_file_system(Path(path), Path("/no/such/file")) is None


def test_a_database_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LK-03: before anything is made there."""
    table = tmp_path / "mountinfo"
    table.write_text(f"37 21 0:41 / {tmp_path} rw - cifs //server/share rw\n")
    monkeypatch.setattr(sqlite, "network_file_system", lambda path: file_systems.network_file_system(path, table))
    with pytest.raises(StoreUnreadable, match=r"network file system \(cifs\)"):
        Database.open(tmp_path / "state" / "store.db")
    assert not (tmp_path / "state").exists()
