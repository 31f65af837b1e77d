"""The alert rules, evaluated by Prometheus's own tool: each fires when it should, and not otherwise."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import PROJECT

pytestmark = [
    pytest.mark.operations,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]

RULES = PROJECT / "service" / "deploy" / "alerts.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
# For each alert: what is measured each minute when all is well, and when it is not; in promtool's notation.
_JOB = 'job="rosetta", instance="one"'
SERIES: dict[str, tuple[str, str | dict[str, str], str | dict[str, str]]] = {
    "RosettaConfigDatabaseDown": (f"rosetta_config_database_up{{{_JOB}}}", "1x60", "0x60"),
    "RosettaNobodyListens": (f"rosetta_listener_up{{{_JOB}}}", "1x60", "0x60"),
    "RosettaRedisNotUsed": (f"rosetta_redis_up{{{_JOB}}}", "1x60", "0x60"),
    "RosettaServedWrongPage": (f'rosetta_samples_total{{{_JOB}, outcome="different"}}', "0x60", "0+1x60"),
    "RosettaEvictionsSlow": (
        f'rosetta_commit_to_eviction_seconds_bucket{{{_JOB}, le="LE"}}',
        {"0.1": "0+30x60", "1": "0+30x60", "5": "0+30x60", "+Inf": "0+30x60"},
        {"0.1": "0x60", "1": "0+1x60", "5": "0+30x60", "+Inf": "0+30x60"},
    ),
    "RosettaSyncsFail": (f"rosetta_syncs_failing{{{_JOB}}}", "0x60", "1x60"),
    "RosettaSlotsInError": (f"rosetta_slots_in_error{{{_JOB}}}", "0x60", "2x60"),
    "RosettaTaskFails": (f'rosetta_task_failures_total{{{_JOB}, task="schedule"}}', "0x60", "0+1x60"),
    "RosettaAway": (f"up{{{_JOB}}}", "1x60", "0x60"),
    "RosettaWorkerDown": (f'rosetta_worker_up{{{_JOB}, worker="2"}}', "1x60", "0x60"),
    "RosettaAnswersFail": (
        f'rosetta_responses_total{{{_JOB}, status="LE"}}',
        {"200": "0+1000x60", "503": "0+1x60"},
        {"200": "0+1000x60", "503": "0+50x60"},
    ),
    "RosettaSyncsLate": (f"rosetta_syncs_late_seconds{{{_JOB}}}", "100x60", "3600x60"),
    "RosettaViewNotRefreshed": (f"rosetta_view_uncovered_seconds{{{_JOB}}}", "60x60", "700x60"),
    "RosettaNotificationQueueFills": (f"rosetta_notification_queue_share{{{_JOB}}}", "0.01x60", "0.4x60"),
    "RosettaSourcesFailing": (f"rosetta_sources_failing{{{_JOB}}}", "0x60", "3x60"),
    "RosettaRequestsRefused": (f'rosetta_refusals_total{{{_JOB}, why="token"}}', "0+10x60", "0+600x60"),
    "RosettaNoticesFail": (
        f'rosetta_notices_total{{{_JOB}, webhook="ops", outcome="failed"}}', "0x60", "0+1x60",
    ),
}  # fmt: skip


def measured(alert: str, *, is_well: bool) -> list[dict[str, str]]:
    """The series of an hour."""
    name, well, wrong = SERIES[alert]
    values = well if is_well else wrong
    if isinstance(values, str):
        return [{"series": name, "values": values}]
    return [{"series": name.replace("LE", label), "values": each} for label, each in values.items()]


def evaluate(folder: Path, series: list[dict[str, str]]) -> set[str]:
    """The names of the alerts that fire after an hour."""
    rows = [{"eval_time": "1h", "alertname": alert, "exp_alerts": []} for alert in ALERTS]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": rows}
    file = folder / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    ran = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode in (0, 1), said
    # It expects none, and says which it got.
    return {alert for alert in ALERTS if f"alertname: {alert}," in said}


def test_rules_are_valid() -> None:
    """As Prometheus loads them."""
    subprocess.run(["promtool", "check", "rules", RULES], check=True, capture_output=True, timeout=60)
    assert set(SERIES) == set(ALERTS)


@pytest.mark.parametrize("alert", SERIES)
def test_alert_fires_when_it_should(alert: str, tmp_path: Path) -> None:
    """It alone, and not while all is well."""
    assert evaluate(tmp_path, measured(alert, is_well=True)) == set()
    assert evaluate(tmp_path, measured(alert, is_well=False)) == {alert}
