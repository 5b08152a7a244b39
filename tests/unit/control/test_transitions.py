"""The tables: complete, and without dead ends."""

from __future__ import annotations

import pytest

from twoway.control.transitions import SESSION, Role, SessionState, State, Step, Variant, table

TABLES = [(role, variant) for role in Role for variant in Variant]
INITIAL = {Role.CONTROL_CLIENT: State.AWAITING_GREETING, Role.SERVER: State.CONNECTED}


@pytest.mark.parametrize(("role", "variant"), TABLES)
def test_every_state_is_reached_and_left(role: Role, variant: Variant) -> None:
    rows = table(role, variant)
    reached = {INITIAL[role]}
    while more := {target for state in reached for target in rows.get(state, {}).values()} - reached:
        reached |= more
    assert set(rows) == reached - {State.CLOSED}
    assert all(rows.values())


@pytest.mark.parametrize(("role", "variant"), TABLES)
def test_every_state_leads_back_to_ready_or_to_the_end(role: Role, variant: Variant) -> None:
    rows = table(role, variant)
    good = {State.READY, State.CLOSED}
    while more := {state for state, row in rows.items() if set(row.values()) & good} - good:
        good |= more
    assert set(rows) <= good


@pytest.mark.parametrize("role", Role)
def test_rfc5938_3_1_individual_control_has_no_start_sessions_and_no_stop_sessions(role: Role) -> None:
    steps = {step for row in table(role, Variant.INDIVIDUAL).values() for step in row}
    forbidden = {Step.SEND_START, Step.RECEIVE_START, Step.SEND_STOP, Step.RECEIVE_STOP, Step.SEND_START_ACK}
    assert not steps & forbidden


def test_rfc5357_3_8_only_the_control_client_stops_in_twamp() -> None:
    assert all(Step.SEND_STOP not in row for row in table(Role.SERVER, Variant.TWAMP).values())
    assert any(Step.SEND_STOP in row for row in table(Role.SERVER, Variant.OWAMP).values())


def test_rfc4656_3_4_only_stop_sessions_while_conducting_active_measurements() -> None:
    for role, variant in TABLES:
        for state in (State.ACTIVE, State.AWAITING_STOP, State.OWING_STOP):
            assert set(table(role, variant).get(state, {})) <= {Step.SEND_STOP, Step.RECEIVE_STOP}


def test_the_two_ends_mirror_each_other() -> None:
    for variant in Variant:
        client = {step.value for row in table(Role.CONTROL_CLIENT, variant).values() for step in row}
        server = {step.value for row in table(Role.SERVER, variant).values() for step in row}
        asked = {name.removeprefix("send ") for name in client if name.startswith("send ")}
        assert asked <= {name.removeprefix("receive ") for name in server if name.startswith("receive ")}


def test_every_step_is_somewhere() -> None:
    assert {step for role, variant in TABLES for row in table(role, variant).values() for step in row} == set(Step)


def test_sessions_end() -> None:
    assert SESSION[SessionState.ENDED] == {}
    assert all(SessionState.ENDED in row.values() for state, row in SESSION.items() if state is not SessionState.ENDED)
