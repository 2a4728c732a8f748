"""Identities of VMs, and XSM's mark in a domain."""

from __future__ import annotations

import uuid
from dataclasses import replace

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from xsm.site import identity, tag, tag_xml
from xsm.site.model import VM
from xsm.site.tag import Tag

SITE = "2b1e1a3c-7a55-4d0e-9d43-4f6a1c3d5e7f"
VM1 = VM("vm1", "c", "web", vcpus=1, memory_mib=96)


def test_identities_last_whatever_else_changes() -> None:
    own = identity.uuid_of(SITE, VM1)
    assert own == str(uuid.uuid5(uuid.UUID(SITE), "vm/vm1"))
    moved = replace(VM1, host="other", config="d", memory_mib=1, set_name="db")
    assert identity.uuid_of(SITE, moved) == own
    assert identity.mac_of(moved, own) == identity.mac_of(VM1, own)
    assert identity.mac_of(VM1, own).startswith("00:16:3e:")
    assert identity.uuid_of(SITE, replace(VM1, name="vm2")) != own
    assert identity.interface_mac(own, 1) != identity.mac_of(VM1, own)


def test_what_the_site_file_says_counts() -> None:
    said = replace(VM1, uuid="11111111-2222-3333-4444-55555555555A", mac="00:16:3E:00:00:01")
    assert identity.uuid_of(SITE, said) == "11111111-2222-3333-4444-55555555555a"
    assert identity.mac_of(said, identity.uuid_of(SITE, said)) == "00:16:3e:00:00:01"


_TEXT = st.text(
    st.characters(
        codec="utf-8", blacklist_categories=["Cc", "Cs"], blacklist_characters="\ufffe\uffff"
    ),
    max_size=12,
)
_VALUES = st.dictionaries(_TEXT, _TEXT, max_size=5)


@given(st.builds(Tag, _TEXT.filter(bool), _TEXT.filter(bool), _TEXT, _VALUES, _VALUES))
def test_a_mark_is_read_as_it_was_written(mark: Tag) -> None:
    xml = etree.tostring(tag_xml.to_element(mark), encoding="unicode")
    assert tag_xml.from_metadata(xml) == mark
    assert tag_xml.from_metadata(tag_xml.to_metadata(mark)) == mark
    assert tag_xml.from_domain_xml(f"<domain><metadata>{xml}</metadata></domain>") == mark


@given(st.text(max_size=60))
def test_anything_else_is_no_mark(text: str) -> None:
    assert tag_xml.from_metadata(text) is None
    assert tag_xml.from_domain_xml(text) is None


@pytest.mark.parametrize(
    "xml",
    [
        "<vm/>",
        "<vm site='s'/>",
        "<host site='s' name='n'/>",
        "<vm site='s' name='n'><boot part='a'/></vm>",
        "<vm site='s' name='n'>" + "<boot part='a' is='b'/>" * (tag_xml.MAX_PARTS + 1) + "</vm>",
        "<!DOCTYPE vm [<!ENTITY e 'x'>]><vm site='&e;' name='n'/>",
        "<vm site='s' name='n'",
    ],
)
def test_malformed_marks_are_none(xml: str) -> None:
    assert tag_xml.from_metadata(xml) is None


def test_marks_of_a_newer_xsm_are_understood() -> None:
    xml = "<vm site='s' name='n' colour='red'><boot part='a' is='b'/><future>1</future></vm>"
    assert tag_xml.from_metadata(xml) == Tag("s", "n", "", {"a": "b"})


def test_libvirt_keeps_the_mark_and_the_users_metadata() -> None:
    mark = Tag(SITE, "vm '1' <&", "token", {"disks": "abc"}, {"memory": "96"})
    connection = libvirt.open("test:///default")
    try:
        domain = connection.lookupByName("test")
        kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        domain.setMetadata(kind, "<owner>me</owner>", "app", "urn:app")
        domain.setMetadata(kind, tag_xml.to_metadata(mark), tag.PREFIX, tag.NAMESPACE)
        assert tag_xml.from_metadata(domain.metadata(kind, tag.NAMESPACE)) == mark
        assert tag_xml.from_domain_xml(domain.XMLDesc()) == mark
        assert "me" in domain.metadata(kind, "urn:app")
    finally:
        connection.close()
