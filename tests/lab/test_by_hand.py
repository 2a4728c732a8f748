"""What an administrator does with virsh behind XSM's back."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site


def test_a_guest_migrated_by_hand_is_not_started_a_second_time(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that XSM, which finds the guest gone from its host at once, asks the others before it starts it: the one
    where it runs by now says so, though it never claimed it, and sends it back live. One boot, no gap, never twice."""
    site.apply(VM("hand1", "dmz01"))
    observer.wait_ticks("hand1", 3, host="dmz01")
    lab["dmz01"].virsh(
        *("migrate", "--live", "--p2p", "--persistent", "--undefinesource", "hand1"),
        f"qemu+tls://{lab['dmz02'].place.address}/system",
    )
    wait_for(
        "it was on dmz02", lambda: any(t.host == "dmz02" for t in observer.ticks("hand1")), SOON_S
    )
    wait_for("it is back", lambda: observer.hosts("hand1") == ["dmz01"], SOON_S)
    observer.wait_ticks("hand1", 5, host="dmz01")
    assert len({tick.boot for tick in observer.ticks("hand1")}) == 1
    assert observer.gaps("hand1") == []
    site.wait_converged()


def test_a_guest_that_somebody_destroys_is_started_again(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that `virsh destroy` is put right as drift, on the same host, by a new boot."""
    site.apply(VM("hand1", "dmz01"))
    before = observer.wait_ticks("hand1", 3, host="dmz01")
    lab["dmz01"].virsh("destroy", "hand1")
    wait_for("a new boot counts", lambda: observer.ticks("hand1")[-1].boot != before.boot, 120.0)
    assert observer.hosts("hand1") == ["dmz01"]
    site.wait_converged()
