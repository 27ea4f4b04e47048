"""Whoever is woken by an alert finds a section that says what to do, and the alert says where it is."""

import re

import pytest

from tests.conftest import PROJECT
from tests.deploy.rules import Alert, alerts

PAGE = (PROJECT / "docs" / "runbook.md").read_text("utf-8")
SECTIONS = {title: text for title, _, text in (section.partition("\n") for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])}
PARTS = ["It means", "Look first", "Likely causes:", "Do:", "Over when"]


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert sorted(SECTIONS) == sorted(["How do I use the runbook?", *(f"What does {alert.name} mean?" for alert in alerts())])


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(alert: Alert) -> None:
    assert alert.labels["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook_url"} == set(alert.annotations)
    page, _, place = alert.annotations["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert place in {anchor(title) for title in SECTIONS}
    assert alert.name.lower() in place


@pytest.mark.parametrize("title", [title for title in SECTIONS if title.startswith("What does")])
def test_a_section_says_what_it_means_where_to_look_why_what_to_do_and_when_it_is_over(title: str) -> None:
    assert re.findall(r"^- \*\*([^*]+)\*\*", SECTIONS[title], re.MULTILINE) == PARTS


@pytest.mark.parametrize("name", ["RagDrift", "RagDriftUnwatched", "RagQueriesMoved"])
def test_whoever_is_told_of_drift_is_told_which_command_says_more_and_which_page(name: str) -> None:
    told = SECTIONS[f"What does {name} mean?"]
    assert "`rag-service drift report`" in told
    assert "](drift.md)" in told


def test_metrics_and_panels_that_the_runbook_names_exist() -> None:
    from tests.deploy.dashboard import PANELS
    from tests.deploy.test_dashboard import SERVED

    named = set(re.findall(r"\brag_[a-z]\w+", PAGE))
    assert named <= SERVED
    panels = {re.sub(r"\s+", " ", title) for title in re.findall(r"\*([A-Z][^*]+\?)\*", PAGE)}
    assert panels <= {panel["title"] for panel in PANELS}
