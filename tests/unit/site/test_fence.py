"""The text of FENCE: an agent and what it is told."""

from __future__ import annotations

import pytest

from xsm.site.document import load
from xsm.site.fence import FenceAgent, parse
from xsm.site.problems import Invalid


def test_an_agent_and_its_options():
    assert parse("fence_xvm") == FenceAgent("fence_xvm")
    assert parse("fence_ipmilan ip=10.0.0.3 login='a b' lanplus=1") == FenceAgent(
        "fence_ipmilan", (("ip", "10.0.0.3"), ("login", "a b"), ("lanplus", "1"))
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the name of a fence agent"),
        ("/bin/sh -c reboot", "not the name of a fence agent"),
        ("fence_../../bin/sh", "not the name of a fence agent"),
        ("fence_ipmilan -o off", "not an option of the form key=value"),
        ("fence_ipmilan ip", "not an option of the form key=value"),
        ("fence_ipmilan action=reboot", "given by XSM itself"),
        ("fence_ipmilan password=geheim", "is a secret"),
        ("fence_ipmilan ip=1 ip=2", "twice"),
        ("fence_ipmilan ip='1", "can't be split"),
        ("fence_ipmilan ip='1\n2'", "not an option of the form key=value"),
    ],
)
def test_what_is_none(text: str, why: str):
    with pytest.raises(ValueError, match=why):
        parse(text)


def test_a_time_without_an_agent_is_a_mistake():
    site = b'<XSMConfig>\n<Host name="a"><FENCE_AFTER>60</FENCE_AFTER></Host>\n</XSMConfig>'
    with pytest.raises(Invalid) as raised:
        load({"site.xml": site})
    assert "host a: FENCE_AFTER without FENCE" in str(raised.value.problems[0])
