"""Two bare hosts become a site, by the commands that a newcomer gives."""

from __future__ import annotations

import json
import subprocess

from tests.lab import ssh
from tests.lab.hosts import BIN, LabHost
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS
from tests.lab.power_switch import PowerSwitch, fenced_hosts
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site
from tests.lab.test_migrate import one_life

ADD_LIMIT_S = 120.0
FIRST, SECOND, WITNESS = "dmz01", "dmz02", "dmz03"
FENCE_AFTER_S = 30
WHERE = "root@192.168.5.102"
TLS = "qemu+tls://{address}/system"


def restart_libvirtd(host: LabHost) -> None:
    """What `xsm host libvirt-tls` says is to be done where there is no systemd."""
    host.stop_daemon("libvirtd")
    wait_for("libvirtd ends", lambda: not host.daemon_pid("libvirtd"), SOON_S)
    host.start_libvirtd()


def uri(host: LabHost, more: str = "") -> str:
    return TLS.format(address=host.place.address) + more


def refused(host: LabHost, *args: str) -> str:
    """What `xsm` says when it refuses; nothing is to be done then."""
    done = host.run("xsm", *args, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_first_host(bare: Lab) -> None:
    """Proves that `xsm init` and `xsm host libvirt-tls` are enough on the first host, that the latter says what is to
    be done where there is no systemd, and that given again it finds all in order."""
    first = bare[FIRST]
    first.xsm("init", "--name", FIRST, "--address", first.place.address)
    said = first.xsm("host", "libvirt-tls", "--yes")
    assert "To do: start libvirtd anew, with --listen" in said
    restart_libvirtd(first)
    again = json.loads(first.run("xsm", "host", "libvirt-tls", "-o", "json").stdout)
    assert again == {"uri": uri(first), "changed": [], "by_hand": "", "problem": ""}
    first.start_xsmd()


def test_a_host_key_is_believed_only_when_somebody_says_so(bare: Lab) -> None:
    """Proves that an unknown key, another one than was accepted, and one that has changed are refused, and that nothing
    has come to the second host by then."""
    first, second = bare[FIRST], bare[SECOND]
    found = ssh.fingerprint(second)
    said = refused(first, "host", "add", WHERE, "--yes")
    assert f"ssh-ed25519 {found}" in said and "--accept-key" in said
    said = refused(first, "host", "add", WHERE, "--yes", "--accept-key", ssh.fingerprint(first))
    assert "is it the right host?" in said
    own = first.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout
    line = " ".join([second.place.address, *own.split()[:2]])
    first.run("sh", "-c", "cat >.ssh/known_hosts", stdin=line + "\n")
    said = refused(first, "host", "add", WHERE, "--yes", "--accept-key", found)
    assert "HAS CHANGED" in said and "ssh-keygen -R" in said
    first.run("rm", ".ssh/known_hosts")
    gone = "test ! -e /opt/xsm && test ! -e /usr/local/bin/xsm && test ! -e /etc/xsm/xsmd.toml"
    second.run("sh", "-c", gone)
    assert [m["name"] for m in bare.status(FIRST)["members"]] == [FIRST]


def test_a_host_is_added_also_when_that_was_killed_half_way(bare: Lab) -> None:
    """Proves that the same command goes on after a kill -9 in the middle of the join, and then has nothing left to do;
    that the program there is a copy in /opt/xsm; and that the token is in no command line that the host sees."""
    first, second = bare[FIRST], bare[SECOND]
    command = ["xsm", "host", "add", WHERE, "--yes", "--accept-key", ssh.fingerprint(second)]
    killed_when(first, command, "joining")
    said = first.run(*command, limit_s=ADD_LIMIT_S).stdout
    assert "dmz02 is a member of the site, and answers." in said
    assert "To do: on dmz02: start libvirtd anew" in said
    restart_libvirtd(second)
    again = json.loads(first.run(*command, "-o", "json", limit_s=ADD_LIMIT_S).stdout)
    assert again == {
        "name": SECOND,
        "address": second.place.address,
        "done": ["putting libvirt's TLS in order"],
        "to_do": [],
    }
    second.run("test", "-x", "/opt/xsm/venv/bin/xsmd")
    bare.wait_whole((FIRST, SECOND))
    second.run("test", "!", "-e", "/var/lib/xsm/join.token")


def killed_when(host: LabHost, command: list[str], words: str) -> None:
    """kill -9 of a command on the host as soon as it says these words."""
    script = 'echo $$ >/run/killed.pid; exec "$@"'
    line = host.command("sh", "-c", script, "sh", *command)
    with subprocess.Popen(
        line, env=host.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        said = []
        for text in running.stdout:
            said.append(text)
            if words in text:
                break
        else:
            raise AssertionError(f"it ended without {words!r}: {''.join(said)}")
        host.run("sh", "-c", "kill -KILL $(cat /run/killed.pid)")
    assert running.returncode != 0


def test_only_hosts_come_in_to_libvirt(bare: Lab) -> None:
    """Proves that libvirtd takes the site's hosts, and neither a viewer nor even an xsmd, whose certificates are of the
    same CA: else a viewer would be root on every host."""
    first, second = bare[FIRST], bare[SECOND]
    first.virsh("-c", uri(second), "uri")
    second.virsh("-c", uri(first), "uri")
    first.xsm("certificate", "eve", "--role", "viewer", "--output", "/root/eve")
    own = "/var/lib/xsm/tls"
    shown = {
        "libvirt": (f"{own}/ca.pem", f"{own}/libvirt.pem", f"{own}/libvirt.key"),
        "viewer": ("/root/eve/site-ca.pem", "/root/eve/eve.pem", "/root/eve/eve.key"),
        "xsmd": (f"{own}/ca.pem", f"{own}/peer.pem", f"{own}/peer.key"),
        # As the viewer's, without what libvirt 9 itself refuses in it: so only the list of names is left.
        "plain": ("/root/eve/site-ca.pem", "/root/eve/plain.pem", "/root/eve/eve.key"),
    }
    first.run(str(BIN / "python"), "-c", PLAIN)
    # libvirt's own client would not even show most of them.
    taken = {who: lets_in(first, second, files) for who, files in shown.items()}
    assert taken == {"libvirt": True, "viewer": False, "xsmd": False, "plain": False}
    # It is the list that does it, which libvirtd reads when it starts.
    conf = "/etc/libvirt/libvirtd.conf"
    second.run("sed", "-i", "s/^tls_allowed_dn_list/#&/", conf)
    restart_libvirtd(second)
    assert lets_in(first, second, shown["plain"])
    second.xsm("host", "libvirt-tls", "--yes")
    restart_libvirtd(second)
    assert not lets_in(first, second, shown["plain"])


PLAIN = """
import time
from pathlib import Path
from xsm.edge import ca
authority = ca.load_ca(Path("/var/lib/xsm/tls"))
request = ca.create_csr(Path("/root/eve/eve.key"), "eve")
pem = authority._sign(ca.check_csr(request, "eve"), ("eve", "viewer"), [], time.time(), key_usage=False)
Path("/root/eve/plain.pem").write_text(pem)
"""


def lets_in(client: LabHost, server: LabHost, files: tuple[str, ...]) -> bool:
    """Whether the server's libvirtd takes the certificate, shown by a TLS client that shows whatever it has."""
    code = (
        "import sys; from pathlib import Path; from xsm.edge.libvirt_tls import lets_in;"
        "from xsm.edge.certificate import TlsFiles;"
        "print(lets_in(sys.argv[1], TlsFiles(*map(Path, sys.argv[2:]))))"
    )
    command = (str(BIN / "python"), "-c", code, server.place.address, *files)
    return {"True\n": True, "False\n": False}[client.run(*command).stdout]


def test_a_guest_migrates_live_between_them(bare: Lab, observer: Observer) -> None:
    """Proves that what the commands set up is enough: a guest started on the first host moves to the second, live."""
    site = Site(bare)
    site.apply(VM("new1", FIRST))
    observer.wait_ticks("new1", 5, host=FIRST)
    bare[FIRST].xsm("migrate", "new1", SECOND, "--yes")
    observer.wait_ticks("new1", 5, host=SECOND)
    one_life(observer, "new1", [FIRST, SECOND])


def test_libvirts_certificate_is_renewed_where_it_is_used(bare: Lab) -> None:
    """Proves that a renewed certificate goes to /etc/pki too, and that libvirtd shows it without being started anew."""
    second = bare[SECOND]
    before, libvirtd = serial(bare), second.daemon_pid("libvirtd")
    # As on a host that joined with an XSM that made none: it asks for one when it starts.
    second.run("rm", "/var/lib/xsm/tls/libvirt.pem")
    second.run("sh", "-c", "kill $(pidof -x xsmd)")
    wait_for(
        "xsmd ends", lambda: bool(second.run("pidof", "-x", "xsmd", check=False).returncode), SOON_S
    )
    second.start_xsmd()
    wait_for("libvirtd shows another certificate", lambda: serial(bare) != before, SOON_S)
    assert second.daemon_pid("libvirtd") == libvirtd
    bare[FIRST].virsh("-c", uri(second), "uri")


def serial(lab: Lab) -> str:
    """Of the certificate that the second host's libvirtd shows."""
    script = f"openssl s_client -connect {HOSTS[SECOND].address}:16514 2>&1 </dev/null | openssl x509 -noout -serial"
    return lab[FIRST].run("sh", "-c", script).stdout


def test_a_host_without_libvirt_is_added_as_a_witness(bare: Lab) -> None:
    """Proves that a third host on which neither libvirtd nor its library is there joins as a witness, by one command;
    that nothing is placed on it, nor pinned to it."""
    first, third = bare[FIRST], bare[WITNESS]
    ssh.start(third)
    ssh.let_in(first, third)
    third.stop_daemon("libvirtd")
    third.run("sh", "-ec", NO_LIBVIRT)
    command = ["xsm", "host", "add", f"root@{third.place.address}", "--witness", "--yes"]
    accept = ("--accept-key", ssh.fingerprint(third))
    first.run(*command, *accept, limit_s=ADD_LIMIT_S)
    bare.wait_whole((FIRST, SECOND, WITNESS))
    row = next(line for line in first.xsm("hosts").splitlines() if line.startswith(WITNESS))
    assert " witness " in row
    site = Site(bare)
    site.write(first, VM("new1", WITNESS))
    refusal = first.run("xsm", "apply", "/root/site", "--yes", "-m", "To the witness", check=False)
    assert refusal.returncode == 2 and "dmz03 is a witness, which runs no VMs" in refusal.stderr


NO_LIBVIRT = """
for library in /usr/lib/x86_64-linux-gnu/libvirt.so.*.*.*; do mount --bind /dev/null "$library"; done
! virsh -V >/dev/null 2>&1
"""


def test_one_of_two_hosts_dies_and_the_other_one_goes_on_with_the_witness(
    bare: Lab, observer: Observer
) -> None:
    """Proves that of two hosts and a witness one host may die: the other one and the witness have it fenced, and its
    guest starts there, seen from outside; that the dead host, when it is back, takes nothing that runs elsewhere."""
    site, second = Site(bare), bare[SECOND]
    site.apply(VM("new1"), hosts=fenced_hosts(FENCE_AFTER_S, (FIRST, SECOND)))
    last = observer.wait_ticks("new1", 3, host=SECOND)
    with PowerSwitch(bare) as switch:
        second.crash()
        took_s = wait_for(
            "new1 runs on dmz01", lambda: observer.hosts("new1") == [FIRST], 4 * SOON_S
        )
        assert switch.asked == [f"off {SECOND}", f"status {SECOND}"]
        print(f"killed -> runs elsewhere: {took_s:.0f} s, of which {FENCE_AFTER_S} s of patience")
        again = observer.wait_ticks("new1", 3, host=FIRST)
        assert again.boot != last.boot
        assert "votes: dmz01, dmz03" in bare[FIRST].xsm("why", "new1")
        second.power_on()
        second.wait_up()
        second.start_xsmd()
        bare.wait_whole((FIRST, SECOND, WITNESS))
        site.wait_converged()
    assert observer.hosts("new1") == [FIRST]
    assert second.virsh("list", "--all", "--name") == ""
