"""The deployment files: every metric, setting and command in them exists."""

import json
import re

import pytest

from service.cli.main import _COMMANDS
from service.config import settings
from service.telemetry import exposition
from tests import PROJECT
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.operations

DEPLOY = PROJECT / "service" / "deploy"
_METRIC = re.compile(r"\brosetta_[a-z_]+")


async def existing(service: Service) -> set[str]:
    """The names of all series."""
    text = (await service.client.get("/metrics")).text
    # Of several workers, one more.
    text += exposition.text(exposition.OfAll([], 1, {}), "")[0].decode()
    kinds = dict(re.findall(r"^# TYPE (rosetta_\w+) (\w+)$", text, re.M))
    names = set(kinds)
    for name, kind in kinds.items():
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


def lead_somewhere(text: str) -> None:
    """Whether the page of the documentation that the text names has that heading, as GitHub numbers it."""
    (page, anchor) = re.findall(r"(docs/[\w-]+\.md)(?:#([\w-]+))?", text)[0]
    headings = re.findall(r"^#+ (.+)$", (PROJECT / page).read_text(), re.M)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not anchor or anchor in slugs, text


async def test_dashboard_asks_for_what_exists(service: Service) -> None:
    """Checks every expression of every panel. No panel covers another."""
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    names = await existing(service)
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= 12
    for expression in expressions:
        assert _METRIC.findall(expression)
        assert set(_METRIC.findall(expression)) <= names, expression
    for panel in dashboard["panels"]:
        lead_somewhere(panel["description"])
        # What can be red says when, and what to do then.
        says_when = re.search(r"\bRed (above|below|from)", panel["description"]) is not None
        assert ("thresholds" in panel["fieldConfig"]["defaults"]) == says_when, panel["title"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])


async def test_alerts_ask_for_what_exists_and_say_what_to_do(service: Service) -> None:
    """Each has a summary and a remedy, and the commands in it exist."""
    text = (DEPLOY / "alerts.yml").read_text()
    expressions = re.findall(r"^ +expr: (.+)$", text, re.M)
    assert len(expressions) == text.count("- alert:") == text.count("summary:") == text.count("remedy:") >= 8
    runbooks = re.findall(r"^ +runbook: (.+)$", text, re.M)
    assert len(runbooks) == len(expressions)
    for runbook in runbooks:
        lead_somewhere(runbook)
    names = await existing(service)
    for expression in expressions:
        assert set(_METRIC.findall(expression)) <= names, expression
    assert set(re.findall(r"\brosetta (\w+)", text)) <= set(_COMMANDS)


@pytest.mark.parametrize(
    "name",
    [
        "Dockerfile",
        "compose.yaml",
        "service/deploy/rosetta-source-details.service",
        "service/deploy/haproxy.cfg",
    ],
)
def test_settings_in_deployment_files_exist(name: str) -> None:
    """A misspelt variable would be ignored silently."""
    known = {settings.variable(field) for field in settings.Settings.model_fields}
    named = set(re.findall(r"\b(?:ROSETTA_[A-Z_]+|CREDENTIAL_ENCRYPTION_KEY)\b", (PROJECT / name).read_text()))
    assert named
    assert named - known <= {"ROSETTA_DB_PASSWORD", "ROSETTA_PUBLISHED_PORT"}


@pytest.mark.parametrize("name", ["requirements-serve.lock", "requirements-demo.lock", "requirements-build.lock"])
def test_what_is_installed_elsewhere_is_what_was_tested(name: str) -> None:
    """The lock of an image, and that of the demo, is a proper subset of the whole lock."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9._-]+==\S+)", (PROJECT / name).read_text(), re.M))

    installed = pins(name)
    assert len(installed) >= 5
    assert installed < pins("requirements.lock")
