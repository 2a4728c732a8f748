"""A live migration that is watched, and called back while the guest is on its way."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

SOURCE, TARGET = "dmz01", "dmz02"
SLOW_MBIT = 24
"""At that rate the guest's memory takes half a minute."""


def on_its_way(lab: Lab, site: Site, observer: Observer, vm: str) -> None:
    """`vm` runs on SOURCE, and begins to move to TARGET over a slow link."""
    site.write(lab["dmz03"], VM(vm, TARGET))
    lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", f"{vm} goes to {TARGET}")
    both = [SOURCE, TARGET]
    wait_for(f"{vm} is on its way", lambda: observer.hosts(vm) == both, SOON_S)


def transfers(lab: Lab, name: str) -> list[dict[str, object]]:
    return list(lab.status(name).get("transfers", []))


def test_progress_is_shown_and_abort_leaves_the_guest_where_it_is(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that `xsm status` shows how far the migration is while it lasts, that `xsm migrate --abort` ends it, and
    that the guest counts on at the source without a gap; nothing is left of it on the target, and the move is no
    failure that would be tried again."""
    site.apply(VM("back1", SOURCE))
    observer.wait_ticks("back1", 5, host=SOURCE)
    with lab.slow(TARGET, SLOW_MBIT):
        on_its_way(lab, site, observer, "back1")
        wait_for(
            "its progress is told on a third host",
            lambda: any(t["job"]["total_mib"] for t in transfers(lab, "dmz04")),  # type: ignore[index]
            SOON_S,
        )
        shown = lab["dmz04"].xsm("status")
        assert f"back1: migrating to {TARGET}: " in shown
        said = lab["dmz04"].xsm("migrate", "back1", "--abort", "--yes")
        assert "Converged" in said
    wait_for("only SOURCE has it", lambda: observer.hosts("back1") == [SOURCE], SOON_S)
    observer.wait_ticks("back1", 10, host=SOURCE)
    assert observer.gaps("back1") == []
    assert "back1" not in lab[TARGET].virsh("list", "--all", "--name").split()
    assert transfers(lab, "dmz04") == []
    log = lab[SOURCE].xsmd_log()
    assert "it runs on here" in log
    assert "migrate failed" not in log
    refused = lab["dmz04"].xsm("migrate", "back1", "--abort", "--yes", check=False)
    assert "nothing is migrating" in refused


def test_what_it_took_is_told_when_it_is_done(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that the migration's total time, downtime and data are in the log, and that the move can be made after it
    was called back once."""
    site.apply(VM("back1", TARGET))
    observer.wait_ticks("back1", 3, host=TARGET)
    assert observer.gaps("back1") == []
    why = lab["dmz03"].xsm("why", "back1")
    assert f"running on {TARGET}: " in why
    assert "the guest stood still for" in why
    assert "MiB sent" in why


def test_ctrl_c_in_xsm_migrate_calls_it_back(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that Ctrl-C while `xsm migrate` follows says so and calls the move back."""
    site.apply(VM("back1", SOURCE))
    observer.wait_ticks("back1", 3, host=SOURCE)
    with lab.slow(TARGET, SLOW_MBIT):
        lab[SOURCE].run("sh", "-c", FOLLOWED)
        both = [SOURCE, TARGET]
        wait_for("back1 is on its way", lambda: observer.hosts("back1") == both, SOON_S)
        lab[SOURCE].run("sh", "-c", "kill -INT $(cat /run/move.pid)")
        ended = lab[SOURCE].place.inside("/root/code")
        wait_for("`xsm migrate` has ended", lambda: ended.exists() and ended.read_text(), SOON_S)
        said = lab[SOURCE].place.inside("/root/said").read_text()
        assert ended.read_text() == "130\n", said
        assert f"calling back1 back from {TARGET}" in said
        site.wait_converged()
    wait_for("only SOURCE has it", lambda: observer.hosts("back1") == [SOURCE], SOON_S)
    observer.wait_ticks("back1", 5, host=SOURCE)
    assert observer.gaps("back1") == []


FOLLOWED = """\
rm -f /root/code; setsid sh -c '
env --default-signal=INT xsm migrate back1 dmz02 --yes >/root/said 2>&1 & echo $! >/run/move.pid
wait $!; echo $? >/root/code' >/dev/null 2>&1 </dev/null &
until [ -s /run/move.pid ]; do :; done
"""
"""Ctrl-C reaches a command that a shell runs in the background only where the signal is not ignored."""
