"""Which file systems a SQLite database may lie on (LK-03).

Its locks and its write-ahead log need one machine with one kernel; on a network file system two machines would each
believe to be alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
OF_NETWORKS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.davfs", "fuse.glusterfs", "fuse.s3fs"}
    | {"fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs"}
    | {"smb", "smb2", "smb3", "smbfs"}
)


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the network file system that `path` lies on; None for a local one, or where nothing tells."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None  # only Linux says so; elsewhere the documentation has to
    real = os.path.realpath(path)
    found, longest = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        parts = before.split(" ")
        if len(parts) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), parts[4])
        is_above = real == point or real.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= longest:  # of two mounts on one point the later one is seen
            found, longest = after.split(" ")[0], len(point)
    return found if found in OF_NETWORKS else None
