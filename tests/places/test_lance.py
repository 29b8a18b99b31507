"""LanceDB is loaded without its client of remote namespaces, which stays usable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from progeo.places.lance import CLIENT, lancedb
assert CLIENT not in sys.modules
connection = lancedb.connect(sys.argv[1])
connection.create_table("photos", [{"path": "a.jpg"}])
assert connection.open_table("photos").count_rows() == 1
assert CLIENT not in sys.modules
from lance_namespace import ListTablesRequest
request = ListTablesRequest(id=["a"])
assert request.id == ["a"] and isinstance(request, ListTablesRequest)
from lance_namespace_urllib3_client.models import ListTablesRequest as Own
assert type(request) is Own
assert connection.list_tables().tables == ["photos"]
"""


def test_the_client_of_namespaces_is_loaded_when_it_is_used(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], check=True)
