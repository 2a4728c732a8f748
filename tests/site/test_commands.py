"""What people type on a site of three hosts, and what libvirt says afterwards."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import libvirt
import pytest

from tests.site.running_site import BIN, SOON_S, Site, site_text, vm_entry, wait
from xsm.site.tag import NAMESPACE

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02", "dmz03")


@pytest.fixture(scope="module")
def three(site: Site) -> Site:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"), vm_entry("flo"))
    return site


def power(site: Site, host: str, vm: str) -> int:
    return int(site.domain(host, vm).state()[0])


# -- power -----------------------------------------------------


def test_stop_start_pause_resume_restart(three: Site) -> None:
    said = three.xsm("dmz03", "stop", "web1", "--yes")
    assert power(three, "dmz01", "web1") == libvirt.VIR_DOMAIN_SHUTOFF
    assert "web1" in said and "Converged" in said
    assert "<STATE>stopped</STATE>" in (three.work() / "site.xml").read_text()
    three.xsm("dmz02", "start", "web1")
    assert power(three, "dmz01", "web1") == libvirt.VIR_DOMAIN_RUNNING
    run = three.domain("dmz01", "web1").ID()
    three.xsm("dmz01", "pause", "web1", "--yes")
    assert power(three, "dmz01", "web1") == libvirt.VIR_DOMAIN_PAUSED
    assert three.vm("dmz03", "web1")["state"] == "paused"
    three.xsm("dmz02", "resume", "web1")
    assert power(three, "dmz01", "web1") == libvirt.VIR_DOMAIN_RUNNING
    assert three.domain("dmz01", "web1").ID() == run
    three.xsm("dmz03", "restart", "web1", "--yes")
    assert three.domain("dmz01", "web1").ID() != run
    assert power(three, "dmz01", "web1") == libvirt.VIR_DOMAIN_RUNNING
    assert "web1 is running as the site wants" in three.xsm("dmz01", "start", "web1")
    refused = three.refusal("dmz01", "stop", "web9", "--yes")
    assert "no VM web9" in refused["message"] and "web1" in refused["hint"]


# -- places -----------------------------------------------------


def test_migrate_drain_and_resume(three: Site) -> None:
    said = three.xsm("dmz03", "migrate", "web1", "dmz03", "--yes")
    assert three.running("web1") == ["dmz03"]
    assert "web1" not in three.stage.domains("dmz01")
    assert "cold" in said
    assert "dmz03</DOM0>" in (three.work() / "site.xml").read_text()
    three.xsm("dmz01", "migrate", "web1", "dmz01", "--yes")
    assert three.running("web1") == ["dmz01"]
    (where,) = three.running("flo")
    said = three.xsm(where, "host", "drain", where, "--yes", code=0 if where == "dmz03" else 1)
    (now,) = three.running("flo")
    assert now != where
    assert "drained" in three.xsm("dmz01", "hosts")
    refused = three.refusal("dmz01", "migrate", "flo", where, "--yes")
    assert f"{where} is drained" in refused["message"]
    three.xsm(now, "host", "resume", where)
    three.wait_converged("dmz01")


# -- adopting -----------------------------------------------------

BY_HAND = """<domain type='test'><name>{name}</name><memory unit='MiB'>{mib}</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><devices><interface type='network'><mac address='52:54:00:00:00:{mac}'/>
<source network='default'/></interface></devices></domain>"""


def by_hand(site: Site, host: str, name: str, mac: str, start: bool) -> libvirt.virDomain:
    keeper = site.stage.hosts[host].keeper
    assert keeper is not None
    domain = keeper.defineXML(BY_HAND.format(name=name, mib=48, mac=mac))
    if start:
        domain.create()
    return domain


@pytest.mark.parametrize("asked", ["dmz02", "dmz01"])
def test_adopt_takes_a_running_domain_in_as_it_is(three: Site, asked: str) -> None:
    name = f"old-{asked}"
    domain = by_hand(three, "dmz02", name, asked[-2:], start=True)
    run, uuid = domain.ID(), domain.UUIDString()
    wait("it is seen", lambda: name in three.foreign(asked))
    said = three.xsm(asked, "adopt", "dmz02", name, "--yes")
    assert f'<VM name="{name}"' in said
    shown = three.vm(asked, name)
    assert (shown["foreign"], shown["uuid"], shown["wanted_host"]) == (False, uuid, "dmz02")
    assert three.domain("dmz02", name).ID() == run, "it was restarted"
    assert three.plan(asked)["plan"]["actions"] == []
    three.domain("dmz02", name).destroy()
    three.wait_running(name, "dmz02")


def test_adopt_takes_a_vm_back_that_lost_its_mark(three: Site) -> None:
    """Somebody defined it anew from XML without XSM's mark: it is nobody's domain, and the site's VM."""
    by_hand(three, "dmz02", "lost", "cc", start=True)
    wait("it is seen", lambda: "lost" in three.foreign("dmz02"))
    three.xsm("dmz02", "adopt", "dmz02", "lost", "--yes")
    domain = three.domain("dmz02", "lost")
    run, before = domain.ID(), three.status("dmz01")["revision"]
    for flag in (libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG):
        three.domain("dmz02", "lost").setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, None, NAMESPACE, flag
        )
    wait("it is foreign", lambda: "lost" in three.foreign("dmz01"))
    assert "a domain named lost that XSM did not create" in three.xsm("dmz01", "status")
    said = three.xsm("dmz01", "adopt", "dmz02", "lost", "--yes")
    assert "lost: its domain is marked as the site's again" in said
    assert three.domain("dmz02", "lost").ID() == run, "it was restarted"
    three.wait_converged("dmz02")
    assert three.status("dmz01")["revision"] == before


def test_adopt_takes_no_domain_that_the_site_would_not_keep_as_it_is(three: Site) -> None:
    """A copy of a VM of the site, without its mark, on another host: marked, it would be shut down and undefined."""
    by_hand(three, "dmz02", "kept", "dd", start=False)
    wait("it is seen", lambda: "kept" in three.foreign("dmz02"))
    three.xsm("dmz02", "adopt", "dmz02", "kept", "--yes")
    plain = re.sub(
        "<metadata>.*</metadata>", "", three.domain("dmz02", "kept").XMLDesc(), flags=re.DOTALL
    )
    keeper = three.stage.hosts["dmz03"].keeper
    assert keeper is not None
    copy = keeper.defineXML(plain)
    wait("the copy is seen", lambda: "kept" in three.foreign("dmz03"))
    refused = three.refusal("dmz01", "adopt", "dmz03", "kept", "--yes")
    assert "kept belongs on dmz02" in refused["message"]
    assert copy.isPersistent()
    copy.undefine()


def test_adopt_of_a_stopped_domain_leaves_it_off(three: Site) -> None:
    by_hand(three, "dmz03", "cold", "aa", start=False)
    odd = by_hand(three, "dmz03", "my db (old)", "ab", start=False)
    wait("they are seen", lambda: {"cold", odd.name()} <= set(three.foreign("dmz03")))
    refused = three.refusal("dmz03", "adopt", "dmz03", "--yes")
    assert "'my db (old)' is not a name for a VM" in refused["message"]
    assert "`virsh domrename`" in refused["hint"]
    assert "`xsm adopt dmz03 NAME...` takes in only some" in refused["hint"]
    three.xsm("dmz03", "adopt", "dmz03", "cold", "--yes")
    odd.undefine()
    assert three.vm("dmz01", "cold")["wanted_power"] == "stopped"
    assert power(three, "dmz03", "cold") == libvirt.VIR_DOMAIN_SHUTOFF
    assert three.plan("dmz02")["plan"]["actions"] == []
    refused = three.refusal("dmz03", "adopt", "dmz03", "nobody", "--yes")
    assert "no foreign domain 'nobody' on dmz03" in refused["message"]


# -- looking -----------------------------------------------------


def test_why_history_diff_show_and_rollback(three: Site) -> None:
    before = three.status("dmz01")["revision"]
    work = three.work()
    text = (work / "site.xml").read_text()
    new = re.sub(r'(name="web2".*?<MEM>)\d+', r"\g<1>100", text, flags=re.DOTALL)
    (work / "site.xml").write_text(new)
    three.xsm("dmz03", "apply", str(work), "--yes", "-m", "web2 gets more")
    assert three.stage.memory_mib("dmz02", "web2") == 100
    why = three.xsm("dmz01", "why", "web2")
    assert "running, on dmz02, which the site file says (site.xml:" in why
    assert "web2 gets more" in why and "100 MiB" in why
    assert three.json("dmz02", "why", "web2")["next"] == []
    last = three.json("dmz02", "history", "-n", "1")[0]
    assert last["changes"] == ["web2: MEM 64 => 100"]
    assert "web2: MEM 64 => 100" in three.xsm("dmz01", "diff", before[:10])
    assert "+" in three.xsm("dmz01", "diff", before[:10], "--text")
    assert "100 MiB" in three.xsm("dmz01", "show", "web2") or "100" in three.xsm(
        "dmz01", "show", "web2"
    )
    assert "dmz02" in three.xsm("dmz01", "show", "dmz02")
    three.xsm("dmz02", "rollback", before[:10], "--yes")
    assert three.stage.memory_mib("dmz02", "web2") == 64
    assert (three.work() / "site.xml").read_text() == text
    refused = three.refusal("dmz02", "rollback", "abcdef123", "--yes")
    assert "no revision 'abcdef123'" in refused["message"]


def test_events_are_followed(three: Site) -> None:
    past = three.stage.run("dmz02", "events", "-n", "1", "-o", "json").stdout
    following = subprocess.Popen(
        [str(BIN / "xsm"), "events", "-f", "-o", "json", "--since", str(json.loads(past)["seq"])],
        env=three.stage.environ("dmz02"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = threading.Timer(SOON_S, following.kill)
    limit.start()
    try:
        assert following.stdout is not None
        three.domain("dmz02", "web2").destroy()
        seen = []
        for line in following.stdout:
            seen.append(json.loads(line))
            if "shutoff => running" in seen[-1]["message"] and not seen[-1]["message"].startswith(
                "start"
            ):
                break
        assert [e["vm"] for e in seen if e["kind"] == "action"] == ["web2", "web2"]
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
    finally:
        limit.cancel()
        following.kill()
        following.wait()
    three.wait_running("web2", "dmz02")


def test_plan_offline_and_the_other_ways_to_look_at_a_file(three: Site, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    three.xsm("dmz01", "plan", "--save-observation", str(seen))
    work = three.work()
    text = (work / "site.xml").read_text()
    (work / "site.xml").write_text(text.replace("<MEM>64<", "<MEM>96<", 1))
    online = three.json("dmz01", "plan", str(work))
    done = subprocess.run(
        [str(BIN / "xsm"), "--socket", "/nowhere", "plan", str(work), "--against", str(seen),
         "-o", "json"], capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    offline = json.loads(done.stdout)
    assert offline["plan"] == online["plan"] and offline["plan"]["actions"]
    three.xsm("dmz01", "validate", str(work))
    xml = three.xsm("dmz01", "domxml", str(work), "web1", "--kind", "test")
    assert "<name>web1</name>" in xml
    there = tmp_path / "there"
    shutil.copytree(work, there)
    three.xsm("dmz01", "convert", str(there / "site.xml"), "--output", str(there / "site.yaml"))
    (there / "site.xml").unlink()
    assert three.json("dmz01", "plan", str(there))["plan"] == online["plan"]


def test_completion_knows_vms_and_hosts(three: Site) -> None:
    assert "_XSM_COMPLETE" in three.xsm("dmz01", "completion", "bash")
    for words, expected in (("xsm why ", "web1"), ("xsm host drain ", "dmz02")):
        done = subprocess.run(
            [str(BIN / "xsm")], capture_output=True, text=True, timeout=20, check=False,
            env={**three.stage.environ("dmz01"), "_XSM_COMPLETE": "bash_complete",
                 "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))},
        )  # fmt: skip
        assert expected in done.stdout, done


# -- a cut network, lost hosts -----------------------------------------------------


def test_conflicting_edits_on_two_halves_are_held_until_settled(three: Site) -> None:
    stage = three.stage
    one, other = three.work(), three.work()
    text = (one / "site.xml").read_text()
    stage.relays.cut(("dmz01", "dmz02"), ("dmz03",))
    try:
        for host, work, mib in (("dmz01", one, 70), ("dmz03", other, 80)):
            new = re.sub(r'(name="web2".*?<MEM>)\d+', rf"\g<1>{mib}", text, flags=re.DOTALL)
            (work / "site.xml").write_text(new)
            three.xsm(host, "apply", str(work), "--yes", "--no-wait", "-m", f"{mib} MiB")
        # Cut off from the majority: it says so.
        wait("no majority", lambda: not three.status("dmz03")["majority"])
        assert "no majority" in three.xsm("dmz03", "status")
        refused = three.refusal("dmz03", "host", "forget", "dmz01", "--yes")
        assert "--it-is-off" in refused["hint"]
    finally:
        stage.relays.heal()
    three.wait_whole()
    status = three.status("dmz02")
    (conflict,) = status["conflicts"]
    assert (conflict["vm"], conflict["what"]) == ("web2", "memory_mib")
    assert {conflict["shown"], conflict["other"]} == {"70", "80"}
    assert "xsm resolve web2" in three.xsm("dmz02", "status")
    assert "xsm resolve web2" in three.xsm("dmz01", "why", "web2")
    three.xsm("dmz01", "resolve", "web2", "--yes")
    assert three.status("dmz03")["conflicts"] == []
    assert three.stage.memory_mib("dmz02", "web2") == int(conflict["shown"])


def test_forget_is_refused_while_a_host_runs_vms_or_may(three: Site) -> None:
    """Last in this module: dmz03 leaves the site."""
    work = three.work()
    (work / "site.xml").write_text(
        site_text(vm_entry("web1", "dmz01"), vm_entry("web3", "dmz03"), vm_entry("flo"))
    )
    three.xsm("dmz01", "apply", str(work), "--yes")
    refused = three.refusal("dmz01", "host", "forget", "dmz03", "--yes")
    assert "dmz03 is alive and runs " in refused["message"] and "web3" in refused["message"]
    refused = three.refusal("dmz01", "host", "forget", "dmz01", "--yes")
    assert "can't forget itself" in refused["message"]
    if three.running("flo") != ["dmz03"]:
        three.xsm("dmz01", "migrate", "flo", "dmz03", "--yes")
    three.stage.power_off("dmz03")
    refused = three.refusal("dmz01", "host", "forget", "dmz03", "--yes")
    assert "dmz03 does not answer" in refused["message"]
    assert three.running("flo") == []
    # web3 has no host any more, but had none that answers before, either: that is not what was asked for.
    said = three.xsm("dmz01", "host", "forget", "dmz03", "--it-is-off", "--yes")
    assert "still held" in said
    assert "dmz03 ran, or may run: flo, web3" in said
    wait("flo runs elsewhere", lambda: len(three.running("flo")) == 1, SOON_S)
    assert [m["name"] for m in three.status("dmz02")["members"]] == ["dmz01", "dmz02"]
    (held,) = three.status("dmz01")["held"]
    assert held.startswith("web3 on dmz03: ") and "no xsmd has joined for dmz03" in held
