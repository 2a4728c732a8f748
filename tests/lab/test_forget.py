"""Further hosts by `xsm host add`: one that locks disks, a witness; and one that is forgotten, for good."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab import ssh
from tests.lab.hosts import BIN, LabHost
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS, LOCKS
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site
from tests.lab.test_enrol import ADD_LIMIT_S, lets_in, restart_libvirtd, uri
from tests.lab.test_migrate import one_life

FIRST, SECOND, THIRD, FOURTH = HOSTS
OWN = "/var/lib/xsm/tls"
LIBVIRT = (f"{OWN}/ca.pem", f"{OWN}/libvirt.pem", f"{OWN}/libvirt.key")


@pytest.fixture(scope="module")
def two(bare: Lab) -> Iterator[Lab]:
    """The first host's site, and the second one in it, with libvirt's TLS on both."""
    first = bare[FIRST]
    first.xsm("init", "--name", FIRST, "--address", first.place.address)
    first.set_up_libvirt_tls()
    first.start_xsmd()
    add(bare, SECOND)
    restart_libvirtd(bare[SECOND])
    yield bare


def add(lab: Lab, name: str, *more: str) -> dict[str, object]:
    """`xsm host add`, as root of the first host; what it says."""
    first, host = lab[FIRST], lab[name]
    key = ("--accept-key", ssh.fingerprint(host))
    where = f"root@{host.place.address}"
    done = first.run(
        "xsm", "host", "add", where, "--yes", "-o", "json", *key, *more, limit_s=ADD_LIMIT_S
    )
    said: dict[str, object] = json.loads(done.stdout)
    return said


def reach(lab: Lab, name: str) -> None:
    """sshd on the host, and the first host's key there."""
    ssh.start(lab[name])
    ssh.let_in(lab[FIRST], lab[name])


def test_a_host_whose_libvirt_locks_disks(two: Lab) -> None:
    """Proves that `--lock-folder` sets locks up on the new host, says what is to be done by hand where there is no
    systemd, and that then all hosts see that it locks; and that the command given again has nothing new to do."""
    reach(two, THIRD)
    third = two[THIRD]
    said = add(two, THIRD, "--lock-folder", LOCKS)
    assert f"having libvirt lock disks in {LOCKS}" in str(said["done"])
    assert "start `virtlockd --daemon`" in str(said["to_do"])
    third.run("virtlockd", "--daemon", "--pid-file", "/run/virtlockd.pid")
    restart_libvirtd(third)
    wait_for("it tells", lambda: two[FIRST].xsm("hosts").count("locks disks (lockd)") == 1, SOON_S)
    again = add(two, THIRD, "--lock-folder", LOCKS)
    assert again["to_do"] == []


def test_a_witness(two: Lab) -> None:
    """Proves that `--witness` makes a host a member that runs nothing: nothing of libvirt's is touched there; and that
    the command given again is content."""
    reach(two, FOURTH)
    fourth = two[FOURTH]
    said = add(two, FOURTH, "--witness")
    assert said["to_do"] == [] and "libvirt" not in str(said["done"])
    fourth.run("test", "!", "-e", "/etc/pki/libvirt/servercert.pem")
    assert 'hypervisor = "none"' in fourth.run("cat", "/etc/xsm/xsmd.toml").stdout
    two.wait_whole((FIRST, SECOND, THIRD, FOURTH))
    assert "witness" in two[FIRST].xsm("hosts")
    assert add(two, FOURTH, "--witness")["to_do"] == []
    both = two[FIRST].run("xsm", "host", "add", "root@x", "--witness", "--lock-folder", LOCKS, check=False)  # fmt: skip
    assert both.returncode == 2 and "Traceback" not in both.stderr


def qemu_that_listens(host: LabHost, port: int) -> None:
    """A QEMU that takes connections by the certificates of live migration, and greets whom it lets in."""
    where = f"host={host.place.address},port={port},server=on,wait=off,tls-creds=t"
    host.run(
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "none", "-daemonize",
        "-pidfile", f"/run/qemu{port}.pid",
        "-object", "tls-creds-x509,id=t,dir=/etc/pki/qemu,endpoint=server,verify-peer=on",
        "-chardev", f"socket,id=c,{where}", "-mon", "chardev=c,mode=control",
    )  # fmt: skip


def qemu_lets_in(client: LabHost, server: LabHost, port: int) -> bool:
    code = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.load_verify_locations(sys.argv[3])
context.load_cert_chain(sys.argv[4], sys.argv[5])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as plain:
    try:
        with context.wrap_socket(plain) as connection:
            print(connection.recv(5) != b"")
    except (ssl.SSLError, ConnectionError):
        print(False)
"""
    where = (server.place.address, str(port))
    done = client.run(str(BIN / "python"), "-c", code, *where, *LIBVIRT)
    return {"True\n": True, "False\n": False}[done.stdout]


def test_a_forgotten_host_gets_in_nowhere_any_more(two: Lab, observer: Observer) -> None:
    """Proves that libvirt and QEMU of the other hosts take a host's certificate, which lasts a year, until it is
    forgotten and not after, without being started anew; that the others still take each other's; and that a VM then
    migrates live between them."""
    first, second, third = two[FIRST], two[SECOND], two[THIRD]
    stay = (first, second)
    site = Site(two)
    site.apply(VM("for1", FIRST))
    observer.wait_ticks("for1", 3, host=FIRST)
    for host in stay:
        third.virsh("-c", uri(host), "uri")
    qemu_that_listens(second, 49301)
    assert qemu_lets_in(third, second, 49301)
    libvirtds = [host.daemon_pid("libvirtd") for host in stay]

    third.run("sh", "-c", "kill $(pidof -x xsmd)")
    first.xsm("host", "forget", THIRD, "--it-is-off", "--yes")
    for host in stay:
        wait_for(f"{host.name} lets it in no more", lambda h=host: not lets_in(third, h, LIBVIRT), SOON_S)  # type: ignore[misc]  # fmt: skip
        done = third.run("virsh", "-c", uri(host), "uri", check=False)
        assert done.returncode != 0
    assert libvirtds == [host.daemon_pid("libvirtd") for host in stay]
    # Nor does a member's libvirt go to the forgotten one, or QEMU let it in.
    assert first.run("virsh", "-c", uri(third), "uri", check=False).returncode != 0
    qemu_that_listens(second, 49302)
    assert not qemu_lets_in(third, second, 49302)
    assert qemu_lets_in(first, second, 49302)
    first.virsh("-c", uri(second), "uri")
    second.virsh("-c", uri(first), "uri")
    first.xsm("migrate", "for1", SECOND, "--yes")
    observer.wait_ticks("for1", 3, host=SECOND)
    one_life(observer, "for1", [FIRST, SECOND])
    assert "may not be revoked" not in first.xsm("status")
    # Also after libvirt was started anew.
    restart_libvirtd(second)
    assert not lets_in(third, second, LIBVIRT)
    assert lets_in(first, second, LIBVIRT)


def test_its_successor_gets_in_and_it_does_not(two: Lab) -> None:
    """Proves that a forgotten host is refused by `xsm host add` as long as it has what was the site's, and told what to
    do; that it then is a member again by its old name, whose libvirt the others take and that they take, without being
    started anew; and that what it had before still opens nothing."""
    first, third = two[FIRST], two[THIRD]
    where = f"root@{third.place.address}"
    done = first.run("xsm", "host", "add", where, "--yes", check=False)
    assert done.returncode == 1 and "it was forgotten" in done.stderr, done
    assert "move /etc/xsm and /var/lib/xsm away there" in done.stderr
    third.run(
        "sh",
        "-ec",
        "cp -r /var/lib/xsm/tls /root/old; find /etc/xsm /var/lib/xsm -mindepth 1 -delete",
    )
    libvirtd = third.daemon_pid("libvirtd")
    assert add(two, THIRD)["to_do"] == []
    two.wait_whole((FIRST, SECOND, THIRD, FOURTH))
    assert third.daemon_pid("libvirtd") == libvirtd
    old = tuple(path.replace(OWN, "/root/old") for path in LIBVIRT)
    for host in (first, two[SECOND]):
        third.virsh("-c", uri(host), "uri")
        host.virsh("-c", uri(third), "uri")
        assert not lets_in(third, host, old)
    wait_for("it goes by the list, too", lambda: not lets_in(third, third, old), SOON_S)
