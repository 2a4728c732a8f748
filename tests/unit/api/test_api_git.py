"""git itself against the server: clone, fetch, push, and who may what."""

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest
from running_server import Remote, Running

from xsm.api import git_http
from xsm.edge.repository import Repository


async def git(*words: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and all that git says, in an environment of its own."""
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        **{f"GIT_{who}_{what}": f"{what}@x" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")},
        **(env or {}),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "git",
        *words,
        cwd=cwd,
        env=clean,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


def tls_environment(running: Running, role: str) -> dict[str, str]:
    """The client's certificate; the CA by the variable that overrides all configuration."""
    env = {"GIT_SSL_CAINFO": str(running.pki.folder / "ca.pem")}
    if role:
        files = running.pki.files("jo", role)
        env |= {"GIT_SSL_CERT": str(files.certificate), "GIT_SSL_KEY": str(files.key)}
    return env


@pytest.fixture
async def origin(running: Running, tmp_path: Path) -> Path:
    """The served repository, with one commit on main."""
    path = running.settings.repository_dir
    Repository.create(path, running.settings.socket).close()
    work = tmp_path / "first"
    work.mkdir()
    (work / "site.xml").write_text("<XSMConfig/>\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "site.xml"],
        ["commit", "-q", "-m", "first"],
        ["push", "-q", str(path), "main"],
    ):
        code, output = await git(*words, cwd=work)
        assert code == 0, output
    running.control.asked.clear()
    return path


async def clone(running: Running, tmp_path: Path, role: str) -> tuple[int, str, Path]:
    target = tmp_path / f"clone-{role}"
    url = running.settings.url + "/git/site.git"
    code, output = await git(
        "clone", "-q", url, str(target), cwd=tmp_path, env=tls_environment(running, role)
    )
    return code, output, target


async def commit(work: Path, content: str) -> None:
    (work / "site.xml").write_text(content)
    code, output = await git("commit", "-q", "-a", "-m", "edit", cwd=work)
    assert code == 0, output


async def head(path: Path, ref: str = "main") -> str:
    code, output = await git("rev-parse", ref, cwd=path)
    assert code == 0, output
    return output.strip()


async def test_a_viewer_clones_and_fetches(running: Running, origin: Path, tmp_path: Path) -> None:
    code, output, work = await clone(running, tmp_path, "viewer")
    assert code == 0, output
    assert (work / "site.xml").read_text() == "<XSMConfig/>\n"
    code, output = await git("pull", "-q", cwd=work, env=tls_environment(running, "viewer"))
    assert code == 0, output


async def test_a_viewer_does_not_push(running: Running, origin: Path, tmp_path: Path) -> None:
    _, _, work = await clone(running, tmp_path, "viewer")
    before = await head(origin)
    await commit(work, "<XSMConfig></XSMConfig>\n")
    code, output = await git("push", cwd=work, env=tls_environment(running, "viewer"))
    assert code != 0 and "403" in output
    assert await head(origin) == before
    assert running.control.asked == []


async def test_without_a_certificate_nothing(
    running: Running, origin: Path, tmp_path: Path
) -> None:
    code, output, work = await clone(running, tmp_path, "")
    assert code != 0 and "403" in output
    assert not work.exists()


async def test_a_push_is_asked_about(running: Running, origin: Path, tmp_path: Path) -> None:
    _, _, work = await clone(running, tmp_path, "operator")
    old = await head(work, "HEAD")
    await commit(work, "x" * 3_000_000)  # more than git sends in one piece
    code, output = await git("push", cwd=work, env=tls_environment(running, "operator"))
    assert code == 0, output
    new = await head(work, "HEAD")
    assert await head(origin) == new
    pre, post = running.control.asked
    assert pre[:4] == ("pre-receive", old, new, "refs/heads/main")
    assert post == ("post-receive", old, new, "refs/heads/main")
    environ = pre[4]
    assert isinstance(environ, dict)
    assert (environ["REMOTE_USER"], environ["XSM_ROLE"]) == ("jo", "operator")
    objects = os.path.normpath(environ["GIT_OBJECT_DIRECTORY"])
    assert objects.startswith(f"{origin}/objects/")
    alternate = os.path.normpath(environ["GIT_ALTERNATE_OBJECT_DIRECTORIES"])
    assert alternate == f"{origin}/objects"


async def test_a_refused_push_says_why(running: Running, origin: Path, tmp_path: Path) -> None:
    _, _, work = await clone(running, tmp_path, "admin")
    env = tls_environment(running, "admin")
    code, output = await git("push", "origin", "HEAD:refs/heads/other", cwd=work, env=env)
    assert code != 0
    assert "remote: xsm: refs/heads/other can't be pushed: the site is the branch main" in output
    code, _ = await git("rev-parse", "--verify", "refs/heads/other", cwd=origin)
    assert code != 0


async def test_history_is_not_rewritten(running: Running, origin: Path, tmp_path: Path) -> None:
    _, _, work = await clone(running, tmp_path, "admin")
    before = await head(origin)
    assert (await git("commit", "-q", "--amend", "-m", "other", cwd=work))[0] == 0
    env = tls_environment(running, "admin")
    assert (await git("push", "--force", cwd=work, env=env))[0] != 0
    assert (await git("push", "origin", ":main", cwd=work, env=env))[0] != 0
    assert await head(origin) == before


async def test_a_push_by_path_is_asked_about_too(
    running: Running, origin: Path, tmp_path: Path
) -> None:
    _, _, work = await clone(running, tmp_path, "viewer")
    await commit(work, "<XSMConfig></XSMConfig>\n")
    code, output = await git("push", str(origin), "main", cwd=work)
    assert code == 0, output
    assert [asked[0] for asked in running.control.asked] == ["pre-receive", "post-receive"]


async def test_only_git_s_smart_protocol(running: Running, origin: Path, remote: Remote) -> None:
    session = remote("jo", "admin")
    for path, status in (
        ("/git/site.git/info/refs", 403),
        ("/git/site.git/info/refs?service=git-evil", 403),
        ("/git/site.git/HEAD", 404),
        ("/git/site.git/objects/info/packs", 404),
        ("/git/site.git/../tls/ca.key", 404),
        ("/git/../tls/info/refs?service=git-upload-pack", 404),
    ):
        async with session.get(path) as response:
            assert response.status == status, path


async def test_a_push_that_is_too_large_is_cut_off(
    running: Running, origin: Path, remote: Remote
) -> None:
    async def endless() -> object:
        yield b"0000"
        for _ in range(80):
            yield b"x" * (1 << 20)

    headers = {"Content-Type": "application/x-git-receive-pack-request"}
    url = "/git/site.git/git-receive-pack"
    try:
        async with remote("jo", "admin").post(url, data=endless(), headers=headers) as response:
            # git answers by itself when it has read enough of what is no push.
            assert response.status in (200, 413, 500)
    except aiohttp.ClientOSError as error:
        assert error.errno is not None
    assert running.control.asked == []


async def test_a_client_that_goes_away_leaves_no_process(
    running: Running, origin: Path, remote: Remote
) -> None:
    def children() -> list[str]:
        path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        return path.read_text().split()

    before = set(children())
    headers = {"Content-Type": "application/x-git-receive-pack-request"}
    half = asyncio.Event()

    async def stuck() -> object:
        yield b"00"
        half.set()
        await asyncio.Event().wait()

    session = remote("jo", "admin")
    posting = asyncio.ensure_future(
        session.post("/git/site.git/git-receive-pack", data=stuck(), headers=headers)
    )
    async with asyncio.timeout(10):
        await half.wait()
        while set(children()) == before:
            await asyncio.sleep(0.01)
        posting.cancel()
        while set(children()) - before:
            await asyncio.sleep(0.01)


async def test_the_daemons_environment_stays_its_own(
    running: Running, origin: Path, tmp_path: Path
) -> None:
    """What git was told in the daemon's environment must not reach the process that serves."""
    os.environ["GIT_DIR"] = "/nowhere"
    try:
        code, output, _ = await clone(running, tmp_path, "viewer")
    finally:
        del os.environ["GIT_DIR"]
    assert code == 0, output


def test_cgi_heads() -> None:
    head = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\nX-Evil: 1\r\n\r\n"
    assert git_http.parse_head(head) == (404, {"Content-Type": "text/plain"})
    assert git_http.parse_head(b"\r\n\r\n") == (200, {})
