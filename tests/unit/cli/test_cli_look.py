"""The commands that only look: golden text into a pipe, and the same as JSON."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Runner, Site
from xsm.api.types import PlanAnswer, Refusal, RevisionInfo, Status, VmStatus, Why
from xsm.edge.hypervisors import NoHypervisor
from xsm.peer.contacts import Reach
from xsm.plan.actions import Plan
from xsm.plan.observed import HostReport
from xsm.site import state_file
from xsm.site.state import State


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates of the golden texts are in UTC."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_status_of_a_site_in_order(xsm: Runner) -> None:
    ran = xsm("status")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "site      converged\n"
        "revision  a1b2c3d4e5 vm1 gets more memory\n"
        "by        Root <root@domain.com>, 2023-11-14 22:13:20\n"
        "asked     dmz01 (xsmd 0.1.0)\n"
        "checkout  /etc/xsm/site\n"
        "\n"
        "HOST   STATE  SEEN  REVISION    ADDRESS        REMARK\n"
        "dmz01  alive  -     a1b2c3d4e5  192.168.5.101  this host\n"
        "dmz02  alive  2 s   a1b2c3d4e5  192.168.5.102\n"
    )


def test_status_of_a_site_in_trouble_says_everything(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/status"] = paper.troubled()
    ran = xsm("status")
    assert ran.code == 0
    assert ran.out == (
        "site      1 pending, 1 held\n"
        "revision  a1b2c3d4e5 vm1 gets more memory (merge of 2 edits)\n"
        "by        Root <root@domain.com>, 2023-11-14 22:13:20\n"
        "asked     dmz01 (xsmd 0.1.0)\n"
        "checkout  /etc/xsm/site\n"
        "\n"
        "HOST   STATE   SEEN    REVISION    ADDRESS        REMARK\n"
        "dmz01  alive   -       a1b2c3d4e5  192.168.5.101  this host\n"
        "dmz02  alive   2 s     0badcafe0b  192.168.5.102\n"
        "dmz03  failed  66 min  -           192.168.5.103  connection refused\n"
        "dmz04  alive   2 s     a1b2c3d4e5  192.168.5.104  drained\n"
        "\n"
        "1 held:\n"
        "  vm3 on dmz03: start: power off => running (site file) HELD: no claim\n"
        "\n"
        "1 pending:\n"
        "  vm1 on dmz01: live: memory 96 MiB => 128 MiB (site file)\n"
        "\n"
        "1 to know:\n"
        "  dmz02: web: foreign domain\n"
        "\n"
        "1 conflict:\n"
        "  vm2: host: shown dmz02, other dmz04 (`xsm resolve vm2` keeps what is shown)\n"
        "\n"
        "the last save in /etc/xsm/site was not applied:\n"
        "  site.xml:7: error: MEM is not a number (MiB, like 96)\n"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frozen": "merge version 2 is not known here"}, "frozen: merge version 2"),
        ({"majority": False}, "no majority"),
        ({"converged": False}, "hosts are catching up"),
        ({"converged": False, "held": ("vm1: x",)}, "1 held"),
    ],
)
def test_status_verdicts(xsm: Runner, site: Site, changes: dict[str, object], said: str) -> None:
    site.answers["GET /v1/status"] = paper.status(**changes)
    assert said in xsm("status").out.splitlines()[0]


def test_status_shortens_long_lists(xsm: Runner, site: Site) -> None:
    lines = tuple(f"vm{n} on dmz01: start" for n in range(30))
    site.answers["GET /v1/status"] = paper.status(converged=False, pending=lines)
    out = xsm("status").out
    assert "30 pending:" in out
    assert "... and 20 more (`xsm plan`)" in out
    assert "vm29" not in out


def test_hosts(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/status"] = paper.troubled()
    ran = xsm("hosts")
    assert ran.out == (
        "HOST   STATE   FOR    HYPERVISOR  VMS  CPUS  MEMORY MIB  FREE MIB  REVISION    REMARK\n"
        "dmz01  alive   -      xen 4.17.3    1     8       16384     12000  a1b2c3d4e5\n"
        "dmz02  alive   5 min  xen 4.17.3    0     8       16384     12000  0badcafe0b\n"
        "dmz03  failed  -      -             -     -           -         -  -           timed out\n"
        "dmz04  alive   7 s    -             -     -           -         -  a1b2c3d4e5  drained\n"
    )
    assert xsm("host", "list").out == ran.out


def test_a_witness_among_the_hosts(xsm: Runner, site: Site) -> None:
    facts = NoHypervisor().facts()
    reports = {"dmz01": HostReport("dmz01", 0.0, "", facts)}
    site.answers["GET /v1/status"] = paper.status(members=(paper.member(1),))
    site.answers["GET /v1/plan"] = PlanAnswer("", Plan(), reports, {})
    (row,) = xsm("hosts").out.splitlines()[1:]
    assert row.split()[:8] == ["dmz01", "alive", "-", "witness", "-", "-", "-", "-"]


def test_a_host_that_left_and_one_without_serf(xsm: Runner, site: Site) -> None:
    left = paper.member(2, reach=Reach.LEFT, since_s=40.0)
    site.answers["GET /v1/status"] = paper.status(
        members=(paper.member(1), left), serf="does not run: it ended with code 1"
    )
    assert "dmz02  left" in xsm("hosts").out
    assert "serf      does not run: it ended with code 1; all works, " in xsm("status").out
    site.answers["GET /v1/status"] = paper.status()
    assert "serf" not in xsm("status").out


def test_vms(xsm: Runner) -> None:
    columns = "VM   STATE    HOST            SET      CONFIG      VCPUS        MIB  IP    MAC"
    mac = "aa:00:00:00:00:01"
    ran = xsm("vms")
    assert ran.out == (
        f"{columns}                REMARK\n"
        f"vm1  running  dmz01           My_site  apache_svr      4         96  dhcp  {mac}\n"
        f"vm2  running  dmz01 => dmz02  My_site  apache_svr      4  96 => 128  dhcp  {mac}"
        "  memory 96 MiB => 128 MiB\n"
        f"vm5  absent   dmz02           My_site  apache_svr      4         96  dhcp  {mac}"
        "  floating\n"
        f"web  running  dmz02           -        -               1        512  -     {mac}"
        "  foreign\n"
    )


def test_vms_filters(xsm: Runner, site: Site) -> None:
    def names(*args: str) -> list[str]:
        return [vm["name"] for vm in xsm("vms", "-o", "json", *args).json()]  # type: ignore[attr-defined]

    assert names() == ["vm1", "vm2", "vm5", "web"]
    assert names("--host", "dmz02") == ["vm2", "vm5", "web"]
    assert names("--set", "My_site") == ["vm1", "vm2", "vm5"]
    assert names("--pending") == ["vm2"]
    assert names("--host", "192.168.5.102") == names("--host", "dmz02")
    assert names("--set", "My_site", "--host", "dmz01", "--pending") == ["vm2"]
    site.answers["GET /v1/vms"] = (paper.vm("vm1", set_name="other"),)
    assert names("--set", "My_site") == []
    assert xsm("vms", "--set", "My_site").err == "no such VMs\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["vm1 on dmz01: host dmz01 => dmz02: held: no live migration; see there"], "moves to dmz02: held"),
        (["vm1: host  => dmz02: held: no claim"], "moves to dmz02: held"),
        (["vm1 on dmz01: memory 96 MiB => 128 MiB: held: no: held: yes"], "memory: held"),
        (["vm1 on dmz01: definition: disks: held: x"], "definition: held"),
        (["vm1 on dmz01: live: memory 96 MiB => 128 MiB (so)"] * 2, "changes live"),
        (["vm1 on dmz01: migrate live: host dmz01 => dmz02 (so; so)"], "moves live to dmz02"),
        (["vm1 on dmz01: stop: power running => off (a: b)", "vm1 on dmz01: restart needed: kernel a => b (so)"],
         "stop; restart needed"),
        (["something else"], "something else"),
    ],
)  # fmt: skip
def test_a_vms_remark_is_short(xsm: Runner, site: Site, lines: list[str], said: str) -> None:
    site.answers["GET /v1/vms"] = (paper.vm("vm1", pending=tuple(lines)),)
    ran = xsm("vms")
    assert ran.out.splitlines()[1].endswith(f"aa:00:00:00:00:01  {said}")
    assert len(ran.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("vms", "--host", "dmz1"), "host dmz1\n  hint: did you mean dmz01 or dmz02?"),
        (("vms", "--set", "my_site"), "set my_site\n  hint: did you mean My_site?"),
        (("history", "--vm", "vm7"), "VM vm7\n  hint: did you mean vm1 or vm2 or vm5?"),
        (("events", "--vm", "mail"), "VM mail\n  hint: it has: vm1, vm2, vm5, web"),
        (("why", "vm11"), "VM vm11\n  hint: did you mean vm1?"),
        (("show", "VM11"), "VM or host VM11\n  hint: did you mean vm1?"),
        (("start", "vm11"), "VM vm11\n  hint: did you mean vm1?"),
        (("migrate", "vm11", "dmz02"), "VM vm11\n  hint: did you mean vm1?"),
        (("migrate", "vm1", "dmz2"), "host dmz2\n  hint: did you mean dmz01 or dmz02?"),
        (("host", "drain", "nope"), "host nope\n  hint: it has: dmz01, dmz02"),
        (("adopt", "dmz"), "host dmz\n  hint: did you mean dmz01 or dmz02?"),
    ],
)
def test_unknown_names(xsm: Runner, site: Site, args: tuple[str, ...], said: str) -> None:
    """Whatever xsmd's own words for it are, and where it only finds nothing."""
    site.answers |= {
        "POST /v1/preview-command": Refusal("conflict", "no member", "its members are: ..."),
        "GET /v1/history": (),
    }
    ran = xsm(*args)
    assert (ran.code, ran.out, ran.err) == (2, "", f"xsm: the site has no {said}\n")
    as_json = xsm(*args, "-o", "json")
    assert (as_json.code, as_json.out) == (2, "")
    assert msgspec.json.decode(as_json.err, type=Refusal).code == "unknown"


def test_a_vm_that_is_no_more_has_events_and_a_history(xsm: Runner, site: Site) -> None:
    assert xsm("history", "--vm", "gone").code == 0
    assert xsm("events", "--vm", "gone").code == 0


def test_a_vm_that_runs_twice_is_shouted_about(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/vms"] = (paper.vm("vm1", running_on=("dmz01", "dmz02")),)
    out = xsm("vms").out
    assert "RUNS TWICE" in out
    assert "dmz01,dmz02 => dmz01" in out


def test_show_vm(xsm: Runner) -> None:
    ran = xsm("show", "vm2")
    assert ran.out == (
        "vm          vm2\n"
        "state       running\n"
        "host        dmz01 => dmz02 (pinned by the site file)\n"
        "wanted      running\n"
        "set         My_site\n"
        "config      apache_svr\n"
        "vcpus       4\n"
        "memory      96 => 128 MiB\n"
        "ip          dhcp\n"
        "mac         aa:00:00:00:00:01\n"
        "uuid        5d6c9d2e-0000-5000-8000-000000000001\n"
        "domains on  dmz01\n"
        "pending:\n"
        "  memory 96 MiB => 128 MiB\n"
    )
    said = "foreign: not of the site; XSM leaves it alone until `xsm adopt dmz02 web`"
    assert said in xsm("show", "web").out


def test_show_vm_tells_how_far_it_can_grow(xsm: Runner, site: Site) -> None:
    text = paper.SITE_XML.replace(b"<MEM>", b"<MAXVCPUS>8</MAXVCPUS><MAXMEM>256</MAXMEM><MEM>")
    files = {"site.xml": text, "configs/apache_svr.cfg": paper.CONFIG}
    site.answers["GET /v1/files"] = {
        **files,
        **state_file.write(State(site_id=paper.status().site_id)),
    }
    out = xsm("show", "vm1").out
    assert "vcpus       4\nmaxvcpus    8\nmemory      96 MiB\nmaxmem      256 MiB\n" in out


def test_show_host_by_name_and_address(xsm: Runner) -> None:
    ran = xsm("show", "dmz01")
    assert "hypervisor  xen 4.17.3, x86_64\n" in ran.out
    assert "2 domains:\n" in ran.out
    assert "  web     shutoff    1/1  512/512  -                  foreign, autostart\n" in ran.out
    assert xsm("show", "192.168.5.101").out == ran.out


def test_show_of_something_unknown(xsm: Runner) -> None:
    ran = xsm("show", "vm11")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "xsm: the site has no VM or host vm11\n  hint: did you mean vm1?\n"


def test_history(xsm: Runner, site: Site) -> None:
    ran = xsm("history", "-n", "5", "--vm", "vm1")
    assert ran.out == (
        "a1b2c3d4e5  2023-11-14 22:13:20  Root <root@domain.com>  vm1 gets more memory\n"
        "    vm1: MEM 96 => 128\n"
        "0badcafe0b  2023-11-14 22:13:20  Root <root@domain.com>  vm1 gets more memory\n"
    )
    assert "/v1/history?limit=5&vm=vm1" in site.paths()


def test_why(xsm: Runner) -> None:
    assert xsm("why", "vm1").out == (
        "vm1\n"
        "  wanted\n"
        "    on dmz01, running, 128 MiB\n"
        "  because of\n"
        "    a1b2c3d4e5  2023-11-14 22:13:20  Root <root@domain.com>  vm1 gets more memory\n"
        "        vm1: MEM 96 => 128\n"
        "  claims\n"
        "    epoch 3, dmz01; nobody else may have run it\n"
        "  observed\n"
        "    running on dmz01 with 96 MiB, 2 s ago\n"
        "  what happened\n"
        "    2023-11-14 22:13:24.000  dmz01  action     vm1: memory 96 MiB => 128 MiB (site file)\n"
        "  next\n"
        "    memory 96 MiB => 128 MiB\n"
    )


def test_why_escapes_the_name_it_asks_for(xsm: Runner, site: Site) -> None:
    ran = xsm("why", "../status?x=1")
    assert ran.code == 2
    assert site.paths() == ["/v1/why/..%2Fstatus%3Fx%3D1", "/v1/vms"]


def test_plan_of_the_head(xsm: Runner) -> None:
    ran = xsm("plan")
    assert ran.code == 0
    assert ran.out == (
        "Revision a1b2c3d4e5:\n"
        "Create:\n"
        "  +  vm5  dmz02  running, 96 MiB  (the site file says so)\n"
        "Change live (no restart):\n"
        "  ~  vm1  dmz01  memory 96 MiB => 128 MiB  (the site file says so)\n"
        "Migrate live:\n"
        "  >  vm2  dmz02  host dmz02 => dmz03  (the site file says so)\n"
        "Remove (disks stay):\n"
        "  -  vm4  dmz04  domain running => absent  (the site file says so)\n"
        "Held (nothing is done until the reason is gone):\n"
        "  =  vm3  dmz03  power off => running  (the site file says so)"
        " held: dmz03 does not answer\n"
        "To know:\n"
        "  web on dmz02: foreign domain, left alone\n"
        "no fresh report of dmz03: timed out\n"
        "Plan: 1 to create, 1 to change live, 1 to migrate live, 1 to remove, 1 held.\n"
    )


def test_an_empty_plan(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/plan"] = PlanAnswer(paper.HEAD, type(paper.plan())(), {}, {})
    assert xsm("plan").out == (
        "Revision a1b2c3d4e5:\nPlan: nothing to do, every VM is as the site file says.\n"
    )


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (("status",), Status),
        (("plan",), PlanAnswer),
        (("vms",), tuple[VmStatus, ...]),
        (("show", "vm1"), VmStatus),
        (("history",), tuple[RevisionInfo, ...]),
        (("why", "vm1"), Why),
    ],
)
def test_json_is_the_very_type(xsm: Runner, args: tuple[str, ...], kind: type) -> None:
    before, after = xsm("-o", "json", *args), xsm(*args, "-o", "json")
    assert before == after
    assert before.code == 0
    msgspec.json.decode(before.out, type=kind)


def test_texts_of_others_cant_drive_the_terminal(xsm: Runner, site: Site) -> None:
    evil = "\x1b[2Jgone\x07\u202e\nsecond"
    site.answers["GET /v1/history"] = (paper.revision(author=evil, changes=(evil,)),)
    out = xsm("history").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\u202e" not in out
    assert "\\x1b[2Jgone\\x07\\u202e second" in out
    assert len(out.splitlines()) == 2


def test_events_are_asked_for_and_filtered(xsm: Runner, site: Site) -> None:
    stream = b"".join(
        msgspec.json.encode(paper.event(n, vm="vm1" if n % 2 else "vm2")) + b"\n" for n in range(6)
    )
    site.answers["GET /v1/events"] = paper_raw(stream)
    lines = xsm("events").out.splitlines()
    assert len(lines) == 6
    assert lines[0] == (
        "2023-11-14 22:13:20.000  dmz01  action     vm2: memory 96 MiB => 128 MiB (site file)"
    )
    assert len(xsm("events", "--vm", "vm1").out.splitlines()) == 3
    assert len(xsm("events", "-n", "2").out.splitlines()) == 2
    one_a_line = xsm("events", "-o", "json", "-n", "2").out.splitlines()
    assert [msgspec.json.decode(line)["seq"] for line in one_a_line] == [4, 5]
    xsm("events", "--since", "4")
    assert site.paths()[-1] == "/v1/events?since=4"


def test_an_action_is_told_once(xsm: Runner, site: Site) -> None:
    """Begun and ended: by what came of it. Only begun: with dots. In the story of a VM, too."""
    events = (
        paper.event(1, message="set-memory: memory 96 MiB => 128 MiB (reason: so)"),
        paper.event(2, message="set-memory: memory 96 MiB => 128 MiB (reason: so)", vm="vm2"),
        paper.event(3, message="memory 96 MiB => 128 MiB (reason: so)"),
        paper.event(4, message="create: domain absent => running (reason: so)"),
        paper.event(5, message="create failed: no such disk (reason: so)"),
        paper.event(6, message="create: domain absent => running (reason: so)", host="dmz02"),
        paper.event(7, message="create: domain absent => running (reason: so)"),
    )
    site.answers["GET /v1/events"] = paper_raw(b"\n".join(map(msgspec.json.encode, events)))
    site.answers["GET /v1/why/vm1"] = replace(paper.why(), events=events)
    told = [
        "dmz01  action     vm2: set-memory: memory 96 MiB => 128 MiB (reason: so) ...",
        "dmz01  action     vm1: memory 96 MiB => 128 MiB (reason: so)",
        "dmz01  action     vm1: create failed: no such disk (reason: so)",
        "dmz02  action     vm1: create: domain absent => running (reason: so) ...",
        "dmz01  action     vm1: create: domain absent => running (reason: so) ...",
    ]
    assert [line[25:] for line in xsm("events").out.splitlines()] == told
    assert all(line in xsm("why", "vm1").out for line in told)
    assert [line[25:] for line in xsm("events", "-n", "4").out.splitlines()] == told[1:]
    assert len(xsm("events", "-o", "json").out.splitlines()) == len(events)
    assert len(xsm("events", "-o", "json", "-n", "4").out.splitlines()) == 4


def paper_raw(body: bytes) -> object:
    from tests.unit.cli.canned import Raw

    return Raw(body)
