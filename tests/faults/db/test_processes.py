"""Several processes, killed processes, full disks: what is left afterwards."""

from __future__ import annotations

import subprocess
import sys

from skep.db import current_revision
from skep.db.revision import HEAD


def test_processes_that_start_together_migrate_once(database_url):
    code = f"from skep.db import migrate; migrate({database_url!r})"
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [(b"", 0)] * 3
    assert current_revision(database_url) == HEAD
