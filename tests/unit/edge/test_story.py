"""The history in words: what each revision changed, and the revisions of one VM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xsm.edge import story
from xsm.edge.repository import Repository
from xsm.peer.derive import derive
from xsm.site import state_file
from xsm.site.state import State

ID = "11111111-1111-4111-8111-111111111111"


def tree(
    vms: dict[str, int], config: bytes = b'kernel = "/k"\n', **state: object
) -> dict[str, bytes]:
    rows = "".join(
        f'<VM name="{n}" config="web"><VCPUS>1</VCPUS><MEM>{m}</MEM></VM>\n' for n, m in vms.items()
    )
    text = f'<XSMConfig><Set name="s">\n{rows}</Set></XSMConfig>\n'
    return {
        "site.xml": text.encode(),
        "configs/web.cfg": config,
        **state_file.write(State(ID, **state)),
    }  # type: ignore[arg-type]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    made = Repository.create(tmp_path / "r.git")
    yield made
    made.close()


def chain(repository: Repository, *trees: dict[str, bytes]) -> list[str]:
    ids: list[str] = []
    for number, files in enumerate(trees):
        parents = tuple(ids[-1:])
        ids.append(
            repository.write_commit(files, parents, "a <a@b>", 1000 + number, f"r{number}").id
        )
    repository.set_heads(ids[-1:], ids[-1])
    return ids


def test_revisions_say_what_they_changed(repository: Repository) -> None:
    chain(
        repository,
        tree({"vm1": 96}),
        tree({"vm1": 128, "vm2": 64}, placement={"vm2": "dmz02"}),
        tree({"vm1": 128, "vm2": 64}, placement={"vm2": "dmz03"}, drained=frozenset({"dmz02"})),
        tree({"vm1": 128}, config=b'kernel = "/other"\n', drained=frozenset({"dmz02"})),
    )
    told = [info.changes for info in story.log(repository, 10)]
    assert told[0] == ("vm2: removed", "configs/web.cfg: changed (of vm1)")
    assert told[1] == ("vm2: placed on dmz03 (was dmz02)", "dmz02: drained")
    assert told[2] == (
        "vm1: MEM 96 => 128",
        "vm2: added (64 MiB, 1 VCPU, floating)",
        "vm2: placed on dmz02",
    )
    assert told[3][0] == "set s: added"
    assert len(story.log(repository, 2)) == 2


def test_the_story_of_one_vm(repository: Repository) -> None:
    ids = chain(
        repository,
        tree({"vm1": 96}),
        tree({"vm1": 96, "vm2": 1}),
        tree({"vm1": 97, "vm2": 1}),
        tree({"vm2": 1}),
        tree({"vm2": 2}),
    )
    assert [info.id for info in story.touching(repository, "vm1", 10)] == [ids[3], ids[2], ids[0]]
    assert [info.changes for info in story.touching(repository, "vm1", 1)] == [("vm1: removed",)]
    removed = story.removed_by(repository, "vm1")
    assert removed is not None and removed.id == ids[3]
    assert story.removed_by(repository, "vm2") is None
    assert story.touching(repository, "vm9", 10) == ()


def test_a_merge_is_told_against_the_common_past(repository: Repository) -> None:
    [root] = chain(repository, tree({"vm1": 96, "vm2": 1}))
    one = repository.write_commit(tree({"vm1": 97, "vm2": 1}), (root,), "a <a@b>", 2000, "one").id
    two = repository.write_commit(tree({"vm1": 98, "vm2": 2}), (root,), "b <b@b>", 2001, "two").id
    main = repository.write_derived(derive((one, two), repository))
    repository.set_heads((one, two), main)
    info = story.revision_info(repository, main)
    assert info.merge
    assert info.changes == (
        "vm1: MEM 96 => 98", "vm2: MEM 1 => 2", "vm1: conflict over memory_mib: 98 shown, 97 overruled",
    )  # fmt: skip
    assert [i.id for i in story.touching(repository, "vm2", 10)] == [two, root]
    assert {i.id for i in story.touching(repository, "vm1", 10)} == {main, one, two, root}


def test_a_revision_that_cannot_be_read_is_told_anyway(repository: Repository) -> None:
    broken = {**tree({"vm1": 1}), "site.xml": b"<", "state/placement.json": b"["}
    chain(repository, tree({"vm1": 1}), broken, tree({"vm1": 2}))
    assert all("can't be read" in info.changes[0] for info in story.log(repository, 2))
