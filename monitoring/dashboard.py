"""Makes dashboard.json, which Grafana imports: `make docs` writes it, `make lint` fails while it is stale.

Expressions ask the daemon's own series and not the recording rules, so that the dashboard works without these. Where
one needs a histogram it asks for the native one `or` the classic buckets: whichever Prometheus has. `$__rate_interval`
is Grafana's: four scrapes or more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import daemon_itself
import in_depth
import overview
import stamp_tlvs
import tracked_routes
from grafana import BLUE, SOURCE, Json, placed, variable
from promql import DAEMONS, RANGE

ROWS = {
    "Overview": overview.panels,
    "$connection $session": in_depth.panels,
    "$connection $session: STAMP TLVs": stamp_tlvs.panels,
    "Tracked routes": tracked_routes.panels,
    "Daemon": daemon_itself.panels,
}


def dashboard() -> Json:
    """The whole of it."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    described = f'twoway_session_info{{{DAEMONS},connection="$connection"}}'
    return {
        "uid": "twoway",
        "title": "twoway",
        "description": "Network paths as twoway measures them: all at once, one in depth, the routes that follow "
        "them, and the daemon itself.",
        "tags": ["twoway", "network"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {
            "list": [
                {
                    "name": "The daemon was started, or took a configuration over",
                    "datasource": SOURCE,
                    "enable": True,
                    "hide": False,
                    "iconColor": BLUE,
                    "expr": f"changes(twoway_config_last_reload_success_timestamp_seconds{{{DAEMONS}}}{RANGE}) > 0",
                }
            ]
        },
        "templating": {
            "list": [
                {**source, "refresh": 1, "regex": "", "multi": False, "includeAll": False, "skipUrlSync": False},
                variable("instance", "Daemon", "label_values(twoway_build_info, instance)", several=True),
                variable(
                    "connection", "Control connection", f"label_values(twoway_session_info{{{DAEMONS}}}, connection)"
                ),
                variable("session", "Test-session", f"label_values({described}, session)"),
            ]
        },
        "links": [],
        "panels": list(placed(ROWS)),
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(text(), encoding="utf-8")
    sys.stdout.write("dashboard.json: written\n")
