"""Located photos as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from progeo.locating.estimate import Located


def write_json(results: Sequence[Located], num_matches: int, file: TextIO | None = None) -> None:
    """Write the results, with the first matches of each, as one list to a file or else to stdout."""
    dump([to_plain(result, num_matches) for result in results], file)


def to_plain(result: Located, num_matches: int) -> dict[str, Any]:
    """Return a result as plain values, with its first matches."""
    content = {"photo": result.path, **result.estimate.to_dict()}
    content["matches"] = content["matches"][:num_matches]
    return content


def dump(content: Any, file: TextIO | None) -> None:
    """Write a value as JSON that people can read too."""
    file = file or sys.stdout
    json.dump(content, file, indent=2, ensure_ascii=False)
    file.write("\n")
