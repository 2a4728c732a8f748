"""Switching a host off from outside, by its fence agent.

Agents are programs of one protocol: options as KEY=VALUE lines on standard input, the result as exit code
(https://github.com/ClusterLabs/fence-agents, doc/FenceAgentAPI.md). Decides when a host counts as off: the agent said
that it switched it off, and asked anew it says that the host is off. Must not know why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from pathlib import Path

from xsm.site.fence import FenceAgent

ACTION_LIMIT_S = 120.0
"""For one call of an agent; a management board that reboots itself takes a minute."""
STATUS_TRIES = 10
STATUS_PAUSE_S = 2.0
"""Some devices report the old state for a while after they have switched."""
OUTPUT_LIMIT_BYTES = 64 * 1024
SECRETS_LIMIT_BYTES = 16 * 1024
PATHS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where agents are, beside PATH."""
OFF = 2
"""Exit code of the action `status` for a host that is off."""


class FenceFailed(Exception):
    """The host can't be taken for off; the text says why."""


async def switch_off(agent: FenceAgent, host: str, secrets: Path) -> str:
    """Switch `host` off; what to tell people. Raises `FenceFailed`.

    `secrets`: a file of further KEY=VALUE lines, which need not be there.
    """
    program = find(agent)
    options = [*(f"{key}={value}" for key, value in agent.options), *read_secrets(secrets)]
    code, said = await _run(program, "off", options)
    if code != 0:
        raise FenceFailed(f"{agent.agent} could not switch {host} off (exit code {code}): {said}")
    for _ in range(STATUS_TRIES):
        code, said = await _run(program, "status", options)
        if code == OFF:
            return f"{agent.agent} switched {host} off"
        await asyncio.sleep(STATUS_PAUSE_S)
    raise FenceFailed(
        f"{agent.agent} says that it switched {host} off, and then that it isn't off "
        f"(exit code {code} of status): {said}"
    )


def find(agent: FenceAgent) -> str:
    """The agent's program. Raises `FenceFailed`."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PATHS])
    program = shutil.which(agent.agent, path=path)
    if program is None:
        raise FenceFailed(f"there is no {agent.agent} on this host: install fence-agents")
    return program


def read_secrets(path: Path) -> list[str]:
    """The lines of a secrets file; none when there is no such file. Raises `FenceFailed`."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise FenceFailed(f"{path} can be read by others: chmod 600 {path}")
            text = file.read(SECRETS_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FenceFailed(f"{path} can't be read: {error.strerror}") from error
    if len(text) > SECRETS_LIMIT_BYTES:
        raise FenceFailed(f"{path} is larger than {SECRETS_LIMIT_BYTES} bytes")
    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    wrong = [number for number, line in enumerate(lines, 1) if "=" not in line]
    if wrong:
        raise FenceFailed(f"{path}: line {wrong[0]} is not of the form KEY=VALUE")
    return lines


async def _talk(process: asyncio.subprocess.Process, told: bytes) -> bytes:
    """Tell it all, and give the last of what it says: it may say more than there is memory."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it needn't listen
        process.stdin.write(told)
        await process.stdin.drain()
    process.stdin.close()
    said = b""
    while more := await process.stdout.read(OUTPUT_LIMIT_BYTES):
        said = (said + more)[-OUTPUT_LIMIT_BYTES:]
    return said


async def _run(program: str, action: str, options: list[str]) -> tuple[int, str]:
    """Exit code and what the agent said. Raises `FenceFailed` when it takes too long."""
    told = "".join(f"{line}\n" for line in [*options, f"action={action}"])
    process = await asyncio.create_subprocess_exec(
        # An agent that outlives its xsmd would switch the host off when nobody counts on it any more.
        *("setpriv", "--pdeathsig", "KILL", program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in a terminal is for xsmd
    )
    try:
        async with asyncio.timeout(ACTION_LIMIT_S):
            said, _ = await asyncio.gather(_talk(process, told.encode()), process.wait())
    except TimeoutError:
        raise FenceFailed(
            f"{Path(program).name} did not end its action {action!r} within {ACTION_LIMIT_S:.0f} s"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = said.decode(errors="replace").split()
    assert process.returncode is not None
    return process.returncode, " ".join(lines)[-300:] or "it said nothing"
