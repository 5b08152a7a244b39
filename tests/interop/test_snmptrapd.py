"""What a real snmptrapd decodes of our notifications: v2c, v3 with all its algorithms, informs, restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ports import free_port
from twoway.analysis.notices import Figures, Notice, State
from twoway.config.check import check
from twoway.config.plan import NoticePlan, TrapPlan
from twoway.daemon.daemon import Daemon
from twoway.drivers.rehearsal import NativeRehearsal
from twoway.notify import link
from twoway.notify.engine_identity import EngineClock
from twoway.notify.notifications import NOTIFICATIONS, Syntax, values_of
from twoway.notify.notifier import Notifier
from twoway.notify.snmp import SnmpOutlet

from .receiving import Snmptrapd, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twoway.config.plan import Plan

AT_NS = 1_772_366_400_123_456_789
FIGURES = Figures(
    target="gw.example.net:862",
    address="2001:db8::1",
    status="response-received",
    sent=10,
    received=9,
    rtt=(1_234_567, 9_876_543, 5_000_400, 12_345),
    egress=(-5_000, 1_000_000, 500_000, 100_000),
    ingress=(2_000, 3_000, 2_500, 400),
    rtt_sum_of_squares_ms2=250,
    last_rtt_ns=1_500_000,
    last_good_ns=AT_NS,
)
NOTICE = Notice(
    at_ns=AT_NS,
    name="probe-failure",
    state=State.RAISED,
    message="3 probes were lost in a row",
    connection="core-fra",
    session="voice",
    threshold_ns=5_000_000,
    value_ns=6_000_000,
    count=3,
    figures=FIGURES,
    trap=True,
)
INSTANCE = "8.99.111.114.101.45.102.114.97.5.118.111.105.99.101"
USERS = {
    # user: (auth_protocol, priv_protocol, as snmptrapd calls them)
    "anne": (None, None, ""),
    "bert": ("sha", None, 'SHA "authentication"'),
    "carl": ("sha", "aes", 'SHA "authentication" AES "privacy-words"'),
    "dora": ("sha224", "aes", 'SHA-224 "authentication" AES "privacy-words"'),
    "emil": ("sha256", "aes", 'SHA-256 "authentication" AES "privacy-words"'),
    "fred": ("sha384", "aes192", 'SHA-384 "authentication" AES-192 "privacy-words"'),
    "gina": ("sha512", "aes256", 'SHA-512 "authentication" AES-256 "privacy-words"'),
    "hugo": ("sha", "aes256", 'SHA "authentication" AES-256 "privacy-words"'),
}
LEVELS = {(False, False): "noauth", (True, False): "auth", (True, True): "priv"}


def engine_id_of(user: str) -> str:
    return "80007ed905" + user.encode().hex()


def configuration() -> str:
    lines = ["authCommunity log public", "authCommunity log hidden-community"]
    for user, (auth, priv, words) in USERS.items():
        lines.append(f"createUser -e 0x{engine_id_of(user)} {user} {words}")  # as the sender of traps
        lines.append(f"createUser {user} {words}")  # as the receiver of informs
        lines.append(f"authUser log {user} {LEVELS[auth is not None, priv is not None]}")
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback, bad news comes at once."""
    monkeypatch.setattr(link, "SETTLE_S", 0.05)


@pytest.fixture(scope="module")
def trapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmptrapd]:
    under = Snmptrapd(tmp_path_factory.mktemp("snmptrapd"), configuration())
    with under.running():
        yield under


def secret(folder: Path, text: str) -> Path:
    path = folder / text
    path.write_text(text + "\n", encoding="ascii")
    path.chmod(0o600)
    return path


def plan_of(trapd: Snmptrapd, folder: Path, user: str, **changes: object) -> TrapPlan:
    auth, priv, _ = USERS[user]
    plan = TrapPlan(
        f"127.0.0.1:{trapd.port}",
        "v3",
        user=user,
        auth_protocol=auth,
        auth_key_file=secret(folder, "authentication"),
        priv_protocol=priv,
        priv_key_file=secret(folder, "privacy-words"),
        engine_id=engine_id_of(user),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]  # fields by name


async def received(trapd: Snmptrapd, notices: list[Notice], *plans: TrapPlan) -> list[list[tuple[str, str]]]:
    """What it decodes after `notices` were posted to receivers of these plans, in the order in which it came."""
    before = len(trapd.notifications())
    notifier = Notifier(NoticePlan(snmp=plans), lambda notice: pytest.fail(notice.message))
    await notifier.start()
    for notice in notices:
        notifier.post(notice)
    await notifier.close(20)
    expected = before + len(notices) * len(plans)
    await until(lambda: len(trapd.notifications()) >= expected, lambda: f"{trapd.notifications()} {notifier.state()}")
    assert [each["sent"] for each in notifier.state()] == [len(notices)] * len(plans)
    return trapd.notifications()[before:]


async def test_pingprobefailed_is_what_rfc_4560_says(trapd: Snmptrapd) -> None:
    (bindings,) = await received(trapd, [NOTICE], TrapPlan(f"127.0.0.1:{trapd.port}", "v2c"))
    uptime, trap, *others = bindings
    assert uptime[0] == "1.3.6.1.2.1.1.3.0"
    assert uptime[1].isdigit()
    assert trap == ("1.3.6.1.6.3.1.1.4.1.0", "OID: .1.3.6.1.2.1.80.0.1")
    assert others == [
        (f"1.3.6.1.2.1.80.1.2.1.3.{INSTANCE}", "INTEGER: 16"),
        (f"1.3.6.1.2.1.80.1.2.1.4.{INSTANCE}", "Hex-STRING: 67 77 2E 65 78 61 6D 70 6C 65 2E 6E 65 74"),
        (f"1.3.6.1.2.1.80.1.3.1.1.{INSTANCE}", "INTEGER: 1"),
        (f"1.3.6.1.2.1.80.1.3.1.2.{INSTANCE}", "INTEGER: 2"),
        (f"1.3.6.1.2.1.80.1.3.1.3.{INSTANCE}", "Hex-STRING: 20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 01"),
        (f"1.3.6.1.2.1.80.1.3.1.4.{INSTANCE}", "Gauge32: 1"),
        (f"1.3.6.1.2.1.80.1.3.1.5.{INSTANCE}", "Gauge32: 10"),
        (f"1.3.6.1.2.1.80.1.3.1.6.{INSTANCE}", "Gauge32: 5"),
        (f"1.3.6.1.2.1.80.1.3.1.7.{INSTANCE}", "Gauge32: 9"),
        (f"1.3.6.1.2.1.80.1.3.1.8.{INSTANCE}", "Gauge32: 10"),
        (f"1.3.6.1.2.1.80.1.3.1.9.{INSTANCE}", "Gauge32: 250"),
        (f"1.3.6.1.2.1.80.1.3.1.10.{INSTANCE}", "Hex-STRING: 07 EA 03 01 0C 00 00 01 2B 00 00"),
    ]


async def test_a_threshold_of_junipers_is_what_its_mib_says(trapd: Snmptrapd) -> None:
    plan = TrapPlan(f"127.0.0.1:{trapd.port}", "v2c", juniper=True)
    (bindings,) = await received(trapd, [replace(NOTICE, name="egress-time-exceeded")], plan)
    assert bindings[1][1] == "OID: .1.3.6.1.4.1.2636.4.9.0.4"
    assert [value for name, value in bindings if name.startswith("1.3.6.1.4.1.2636.")] == [
        "Gauge32: 0",  # the least delay is below 0, for the clocks differ
        "Gauge32: 1000",
        "Gauge32: 500",
        "Gauge32: 5000",
        "Gauge32: 6000",
    ]


def printed(syntax: Syntax, value: int | bytes) -> str:
    """A value as snmptrapd prints it."""
    if isinstance(value, bytes):
        return ("Hex-STRING: " + value.hex(" ").upper()).strip() if value else '""'
    return f"{'INTEGER' if syntax is Syntax.INTEGER else 'Gauge32'}: {value}"


async def test_every_notification_arrives_with_all_its_objects(trapd: Snmptrapd) -> None:
    plan = TrapPlan(f"127.0.0.1:{trapd.port}", "v2c", juniper=True)
    notices = [replace(NOTICE, name=name) for name in NOTIFICATIONS]
    decoded = await received(trapd, notices, plan)
    for notice, bindings in zip(notices, decoded, strict=True):
        notification = NOTIFICATIONS[notice.name]
        assert bindings[1][1] == "OID: ." + ".".join(map(str, notification.oid))
        assert bindings[2:] == [
            (".".join(map(str, each.oid)), printed(each.syntax, each.value)) for each in values_of(notice, notification)
        ]


@pytest.mark.parametrize("user", USERS)
async def test_traps_and_informs_of_v3_are_authenticated_and_decrypted(
    trapd: Snmptrapd, tmp_path: Path, user: str
) -> None:
    (plain,) = await received(trapd, [NOTICE], TrapPlan(f"127.0.0.1:{trapd.port}", "v2c"))
    trap, inform = plan_of(trapd, tmp_path, user), plan_of(trapd, tmp_path, user, inform=True)
    for plan in (trap, inform):
        (bindings,) = await received(trapd, [NOTICE], plan)
        assert bindings[1:] == plain[1:]


async def test_informs_of_v2c_are_answered(trapd: Snmptrapd, tmp_path: Path) -> None:
    community = secret(tmp_path, "hidden-community")
    plan = TrapPlan(f"127.0.0.1:{trapd.port}", "v2c", community_file=community, inform=True)
    assert len(await received(trapd, [NOTICE, NOTICE], plan)) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"user": "zoe"}, "Unknown USM user"), ({"auth_protocol": "sha512"}, "Wrong SNMP PDU digest")],
)
async def test_an_inform_with_a_wrong_secret_says_what_is_wrong(
    trapd: Snmptrapd, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    before = len(trapd.notifications())
    told: list[Notice] = []
    plan = replace(plan_of(trapd, tmp_path, "emil", inform=True), **changes)  # type: ignore[arg-type]  # fields by name
    notifier = Notifier(NoticePlan(snmp=(plan,)), told.append)
    await notifier.start()
    notifier.post(NOTICE)
    await until(lambda: bool(told), lambda: str(notifier.state()))
    await notifier.close(0)
    assert reason in told[0].message
    assert "authentication" not in told[0].message
    assert len(trapd.notifications()) == before


async def test_a_sender_that_restarts_is_believed_because_its_boots_grow(trapd: Snmptrapd, tmp_path: Path) -> None:
    before = len(trapd.notifications())
    plan = replace(plan_of(trapd, tmp_path, "emil"), engine_id=engine_id_of("emil"))
    # The counter-proof is the second: it claims to be from before the first, and is not believed.
    for boots in (1_000_000_000, 999_999_999, 1_000_000_001):
        outlet = SnmpOutlet(plan, EngineClock(boots))
        await outlet.open()
        await outlet.deliver(replace(NOTICE, session=f"boots{boots}"), careful=True)
        outlet.close()
    last = ".".join(map(str, b"boots1000000001"))
    await until(
        lambda: any(last in name for name, _ in trapd.notifications()[-1]), lambda: str(trapd.notifications()[before:])
    )
    assert len(trapd.notifications()) == before + 2


RELOADED = """
client:
  control-connection:
    near:
      control-type: light
      test-session:
        voice:
          {target: 127.0.0.1, destination-port: %d, probe-count: 5, probe-interval: 20ms, timeout: 50ms,
           thresholds: {total-loss: 1}, traps: [test-completion]}
notifications:
  snmp:
    - {address: "127.0.0.1:%d", version: v3, user: %s, auth-protocol: sha256, auth-key-file: authentication,
       priv-protocol: aes, priv-key-file: privacy, inform: %s, engine-id: "%s"}
"""


@pytest.mark.parametrize("inform", ["off", "on"])
async def test_a_secret_that_a_reload_reads_anew_is_used_from_then_on(tmp_path: Path, inform: str) -> None:
    """snmptrapd changes its users' secrets, which only a restart of it does; the daemon is told by a reload."""
    engine_id = engine_id_of("gate")
    words = 'SHA-256 "%s" AES "%s"'
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    users = {
        name: Snmptrapd(
            tmp_path / name,
            "\n".join([f"createUser{of} gate {words % secrets}" for of in (f" -e 0x{engine_id}", "")])
            + "\nauthUser log gate priv\n",
        )
        for name, secrets in (("old", ("first-words", "first-secret")), ("new", ("second-words", "second-secret")))
    }
    users["new"].port = users["old"].port
    folder = tmp_path / "daemon"
    folder.mkdir()
    configuration = folder / "twoway.yaml"
    configuration.write_text(RELOADED % (free_port(), users["old"].port, "gate", inform, engine_id))

    def change(*secrets: str) -> None:
        for name, text in zip(("authentication", "privacy"), secrets, strict=True):
            (folder / name).write_text(text + "\n")
            (folder / name).chmod(0o600)

    def plan() -> Plan:
        checked = check(str(configuration), NativeRehearsal())
        assert checked.plan is not None, checked.errors
        return checked.plan

    change("first-words", "first-secret")
    first = plan()
    notifier = Notifier(first.notices, lambda _: None)
    await notifier.start()
    daemon = Daemon(first, read_plan=plan, teller=notifier)
    await daemon.open()

    async def arrive(at: Snmptrapd) -> None:
        before = len(at.notifications())
        await until(lambda: len(at.notifications()) >= before + 2, lambda: str(notifier.state()))

    try:
        with users["old"].running():
            await arrive(users["old"])
        with users["new"].running():
            # Tests go on and are told of; nothing of it can be read before the daemon has the new secrets.
            tests = daemon.results(("near", "voice")).tests_failed
            await until(lambda: daemon.results(("near", "voice")).tests_failed >= tests + 3, lambda: "tests go on")
            assert users["new"].notifications() == []
            change("second-words", "second-secret")
            assert (await daemon.reload()).message == "no test-session differs; receivers of notices differ"
            await arrive(users["new"])
    finally:
        await daemon.close()
        await notifier.close(0)
