"""``mmcl dashboard``: a sweep as one HTML file that needs no network and no server."""

from __future__ import annotations

import html
import json
import time
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from mmcl.errors import UserError
from mmcl.records.files import write_bytes
from mmcl.records.sweep import read_sweep
from mmcl.reports.dashboard_data import gather

NAME = "dashboard.html"
HERE = Path(__file__).parent


def dashboard(sweep_dir: Path, output: Path | None = None, now: float | None = None) -> tuple[Path, int]:
    """Write the page of the sweep in ``sweep_dir``; jobs may be running meanwhile.

    Args:
        sweep_dir: the sweep's folder, such as ``multirun/NAME``.
        output: the file to write; ``None``: ``dashboard.html`` in ``sweep_dir``.
        now: seconds since 1970 to measure heartbeats against; ``None``: this moment.

    Returns:
        The file, and the number of runs in it.

    Raises:
        UserError: no sweep there, or no place to write.
    """
    now = time.time() if now is None else now
    path = sweep_dir / NAME if output is None else output
    if path.is_dir():
        raise UserError(f"--output={path}: a folder; name a file in it, such as {path / NAME}")
    if not path.parent.is_dir() and output is not None:
        raise UserError(f"--output={path}: no folder {path.parent}; make it, or name another file")
    sweep = read_sweep(sweep_dir, now)
    try:
        write_bytes(path, page(gather(sweep, now)).encode())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); name another file with -o FILE"
        ) from None
    return path, len(sweep.runs)


def page(data: dict[str, Any]) -> str:
    """The page that shows ``data``, the block that :func:`mmcl.reports.dashboard_data.gather` makes."""
    parts = {name: (HERE / f"dashboard.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    return Template((HERE / "dashboard.html").read_text(encoding="utf-8")).substitute(
        **parts, title=html.escape(str(data["sweep"]["name"])), plotly=get_plotlyjs(), data=embed(data)
    )


def embed(data: Any) -> str:
    r"""``data`` as JSON that is safe inside a ``<script>`` element.

    A value may hold ``</script>`` or ``<!--``, which would end or change the element. Inside JSON these characters only
    stand in strings, where an escape means the same.

    >>> embed({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
