"""Asking for a promotion or a rollback: who may, what the pages say, and that one thing waits at a time."""

from collections.abc import Callable

import psycopg
import pytest

from churn.database import connect
from console.access import hashed
from console.roles import Role
from tests.console.conftest import Someone, cookie_of
from tests.kit.releases import JANUARY, draft, release, written

WHY = "the new tariff is scored wrongly"
ONE, TWO = release("one", version="3"), release("two", version="7")


def figures(of: object = TWO) -> dict[str, object]:
    """What the gate's evidence holds of a challenger, as far as pages show it."""
    return {
        "version": of.version,  # type: ignore[attr-defined]
        "candidate": "boosting",
        "service": "churn_rich",
        "as_of": "2024-01-31",
    }


@pytest.fixture
def judged(settings: object) -> None:
    """Release ONE is in force; the gate kept it, and not TWO."""
    written(
        draft(release_id=ONE.release_id, evidence={"challenger": figures(ONE)}),
        draft(
            month=JANUARY.next,
            challenger=TWO.release_id,
            release_id=ONE.release_id,
            outcome="keep",
            reasons=("it earns no more",),
            evidence={"challenger": figures()},
        ),
        kept=(ONE, TWO),
    )


@pytest.fixture
def both_were_in_force(judged: None) -> None:
    written(
        draft(
            month=None,
            decided_for=JANUARY.next.matures_at,
            release_id=TWO.release_id,
            outcome="promote",
            evidence={"release": TWO.as_json()},
        )
    )


def requests() -> list[tuple[object, ...]]:
    with connect() as connection:
        return connection.execute(
            "SELECT what, version, seen, reason, person, state FROM console.requests"
        ).fetchall()


def test_trust_offers_a_decision_to_who_may_take_it(
    judged: None, sign_in: Callable[..., Someone]
) -> None:
    for role in (Role.VIEWER, Role.CALLER):
        someone = sign_in(role)
        assert "Decide by hand" not in someone.get("/trust").text
        assert someone.get("/trust/promote", params={"version": "7"}).status_code == 403
        assert someone.get("/trust/rollback").status_code == 403
        asked = {"version": "7", "reason": WHY, "seen": ONE.release_id}
        assert someone.post("/trust/promote", asked).status_code == 403
    assert requests() == []
    text = sign_in(Role.APPROVER).get("/trust").text
    assert "Promote version 7" in text
    assert "Promote version 3" not in text  # it is in force
    assert "keep by the gate (entry 2): it earns no more" in text


def test_a_promotion_is_confirmed_with_a_reason_and_left_for_the_pipeline(
    judged: None, sign_in: Callable[..., Someone]
) -> None:
    someone = sign_in(Role.APPROVER)
    text = someone.get("/trust/promote", params={"version": "7"}).text
    assert "it earns no more" in text
    assert f'value="{ONE.release_id}"' in text
    asked = {"version": "7", "seen": ONE.release_id}
    assert someone.post("/trust/promote", {**asked, "reason": " "}).status_code == 422
    assert requests() == []
    answer = someone.post("/trust/promote", {**asked, "reason": WHY})
    assert answer.status_code == 303
    text = someone.get(answer.headers["location"]).text
    assert "It waits to be carried out" in text
    assert WHY in text
    assert requests() == [("promote", "7", ONE.release_id, WHY, "ann", "asked")]
    with connect() as connection:
        [(person, subject)] = connection.execute(
            "SELECT person, subject FROM console.acts WHERE act = 'release asked for'"
        )
    assert (person, subject) == ("ann", "promote 7")


def test_a_version_that_was_never_judged_is_said_to_be_so(
    judged: None, sign_in: Callable[..., Someone]
) -> None:
    someone = sign_in(Role.APPROVER)
    text = someone.get("/trust/promote", params={"version": "12"}).text
    assert "The gate never judged version 12." in text
    assert someone.get("/trust/promote", params={"version": "champion"}).status_code == 422


def test_one_thing_waits_at_a_time(judged: None, sign_in: Callable[..., Someone]) -> None:
    someone = sign_in(Role.ADMINISTRATOR)
    asked = {"version": "7", "reason": WHY, "seen": ONE.release_id}
    assert someone.post("/trust/promote", asked).status_code == 303
    answer = someone.post("/trust/promote", asked)
    assert answer.status_code == 409
    assert "still to be carried out" in answer.text
    assert len(requests()) == 1


def test_there_may_be_nothing_to_go_back_to(judged: None, sign_in: Callable[..., Someone]) -> None:
    answer = sign_in(Role.APPROVER).get("/trust/rollback")
    assert answer.status_code == 404
    assert "There is no release to go back to." in answer.text


def test_a_rollback_names_what_it_restores(
    both_were_in_force: None, sign_in: Callable[..., Someone]
) -> None:
    someone = sign_in(Role.APPROVER)
    text = someone.get("/trust/rollback").text
    assert "would be restored" in text
    assert "version 3" in text
    asked = {"reason": WHY, "seen": TWO.release_id}
    assert someone.post("/trust/rollback", asked).status_code == 303
    assert requests() == [("rollback", "", TWO.release_id, WHY, "ann", "asked")]


def test_what_came_of_it_is_shown_in_words(judged: None, sign_in: Callable[..., Someone]) -> None:
    someone = sign_in(Role.APPROVER)
    asked = {"version": "7", "reason": WHY, "seen": ONE.release_id}
    where = someone.post("/trust/promote", asked).headers["location"]
    assert 'http-equiv="refresh"' in someone.get(where).text
    with connect() as connection:
        connection.execute(
            "UPDATE console.requests SET state = 'refused', answer = 'it was altered',"
            " ended_at = clock_timestamp()"
        )
    for path in (where, "/trust"):
        text = someone.get(path).text
        assert "nothing was changed: it was altered" in text
        assert 'http-equiv="refresh"' not in text
    assert someone.get("/trust/requests/999").status_code == 404
    assert someone.get("/trust/requests/99999999999999999999").status_code == 422


def test_the_database_takes_the_name_from_the_session(
    judged: None, sign_in: Callable[..., Someone]
) -> None:
    caller = sign_in(Role.CALLER)
    session = hashed(caller.client.cookies[cookie_of(caller.client)])
    with connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT console.ask(%s, 'promote', '7', '', 'x')", [session])
