"""What every runner does, on this machine and through a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.base.errors import BodyTooLarge, CommandFailed, HostUnavailable, LocalFailure, TimedOut
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.recording import RecordingRunner
from skep.deploy.shell.records import Command
from skep.deploy.shell.ssh import SshRunner, SshTarget, host_key_of


@pytest.fixture(params=["local", "ssh", "recording"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    if request.param == "ssh":
        yield request.getfixturevalue("ssh_runner")
    else:
        local = LocalRunner()
        yield RecordingRunner(inner=local) if request.param == "recording" else local


async def test_arguments_arrive_as_they_are_whatever_is_in_them(runner: Runner) -> None:
    odd = ("a b", "$HOME", "'", '"', "\\n", "", "*", "é", ";ls", "\n")
    result = await runner.run(Command.of("printf", "%s|", *odd))
    assert result.text == "".join(f"{word}|" for word in odd)


async def test_environment_directory_and_input_arrive(runner: Runner, tmp_path: Path) -> None:
    command = Command(
        argv=("sh", "-c", 'pwd; echo "$GREETING"; cat; echo said >&2'),
        env={"GREETING": "it's $5"},
        cwd=str(tmp_path),
        stdin=b"from stdin",
    )
    result = await runner.run(command)
    assert result.stdout == f"{tmp_path}\nit's $5\nfrom stdin".encode()
    assert result.stderr == b"said\n"


async def test_a_file_is_streamed_to_a_command(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    result = await runner.run(Command.of("wc", "-c", stdin=tmp_path / "large"))
    assert result.text.strip() == "3000000"


async def test_a_failure_says_where_what_and_the_last_words(runner: Runner) -> None:
    with pytest.raises(CommandFailed, match=r"ended with 3: no luck") as caught:
        await runner.run(Command.shell("echo no luck >&2; exit 3"))
    assert runner.host in caught.value.message
    assert caught.value.details["exit_code"] == 3
    assert (await runner.run(Command.shell("exit 3"), check=False)).exit_code == 3


async def test_a_missing_program_is_127_and_a_signal_128_and_more(runner: Runner) -> None:
    assert (await runner.run(Command.of("there-is-no-such-program"), check=False)).exit_code == 127
    assert (await runner.run(Command.shell("kill -TERM $$"), check=False)).exit_code == 128 + 15


async def test_secrets_are_not_in_messages(runner: Runner) -> None:
    with pytest.raises(CommandFailed) as caught:
        await runner.run(Command(argv=("false", "hunter2"), secret=True))
    assert "hunter2" not in str(caught.value)


async def test_output_over_the_limit_is_thrown_away_and_told(runner: Runner) -> None:
    command = Command(argv=("sh", "-c", "head -c 500000 /dev/zero; echo ok >&2"), output_max_bytes=1000)
    result = await runner.run(command)
    assert (len(result.stdout), result.stderr, result.truncated) == (1000, b"ok\n", True)


async def test_what_takes_too_long_is_killed(runner: Runner, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    with pytest.raises(TimedOut, match="longer than 0"):
        await runner.run(Command.shell('echo $$ > "$1"; exec sleep 1000', str(started), timeout_s=0.7))
    await gone(int(started.read_text()))


async def test_what_is_cancelled_is_killed(runner: Runner, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    running = asyncio.ensure_future(runner.run(Command.shell('echo $$ > "$1"; exec sleep 1000', str(started))))
    while not started.exists() or not started.read_text().strip():
        await asyncio.sleep(0.01)  # until the other process has written it
    await asyncio.sleep(0.5)  # what names its process group was sent before that, and may still be on its way
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(int(started.read_text()))


async def gone(pid: int) -> None:
    for _ in range(2000):
        if not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        await asyncio.sleep(0.01)  # until the kernel has ended it
    raise AssertionError(f"process {pid} still runs")


async def test_lines_come_as_they_are_written_and_leaving_ends_the_program(runner: Runner, tmp_path: Path) -> None:
    script = Command.shell('echo $$ > "$1"; echo one; echo two; exec sleep 1000', str(tmp_path / "pid"))
    async with runner.lines(script) as lines:
        assert [await anext(lines), await anext(lines)] == [b"one", b"two"]
    await gone(int((tmp_path / "pid").read_text()))


async def test_lines_of_a_program_that_fails_end_with_the_failure(runner: Runner) -> None:
    said = []
    with pytest.raises(CommandFailed, match="ended with 4: oh"):
        async with runner.lines(Command.shell("printf 'a\\nb'; echo oh >&2; exit 4")) as lines:
            said = [line async for line in lines]
    assert said == []
    async with runner.lines(Command.shell("printf 'a\\nb'")) as lines:
        assert [line async for line in lines] == [b"a", b"b"]


async def test_a_program_is_talked_with_and_leaving_ends_it(runner: Runner, tmp_path: Path) -> None:
    script = Command.shell(
        'echo $$ > "$1"; echo begun; while read -r word; do echo "[$word]"; echo no >&2; done', str(tmp_path / "pid")
    )
    async with runner.talk(script) as (reader, writer):
        assert await reader.read(100) == b"begun\n"
        for word in (b"one", b"two"):
            writer.write(word + b"\n")
            await writer.drain()
            assert await reader.read(100) == b"[" + word + b"]\n"
    await gone(int((tmp_path / "pid").read_text()))


async def test_the_end_of_a_program_that_was_talked_with_is_the_end_of_what_it_says(runner: Runner) -> None:
    async with runner.talk(Command.shell("read -r word; echo $word; exit 3")) as (reader, writer):
        writer.write(b"last\n")
        writer.close()
        said = b""
        while piece := await reader.read(100):
            said += piece
    assert said == b"last\n"


async def test_much_goes_both_ways_of_a_talk(runner: Runner) -> None:
    content, said = os.urandom(1 << 20), bytearray()
    async with runner.talk(Command.of("cat")) as (reader, writer):

        async def hear() -> None:
            while len(said) < len(content):
                said.extend(await reader.read(1 << 16))

        hearing = asyncio.ensure_future(hear())
        writer.write(content)
        await writer.drain()
        await hearing
    assert bytes(said) == content


async def test_a_file_is_put_whole_with_its_mode_and_read_back(runner: Runner, tmp_path: Path) -> None:
    path, content = tmp_path / "new dir" / "it's", os.urandom(300_000)
    await runner.put(content, str(path), mode=0o640)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o640
    (tmp_path / "source").write_bytes(b"other")
    await runner.put(tmp_path / "source", str(path))
    assert await runner.get(str(path)) == b"other"
    assert [entry.name for entry in path.parent.iterdir()] == ["it's"]


async def test_a_file_that_cannot_be_put_leaves_nothing(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CommandFailed):
        await runner.put(b"y", str(tmp_path / "file" / "below"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


async def test_reading_what_is_missing_or_too_large_is_told(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="could not be read"):
        await runner.get(str(tmp_path / "none"))
    (tmp_path / "large").write_bytes(bytes(101))
    with pytest.raises(BodyTooLarge):
        await runner.get(str(tmp_path / "large"), limit_bytes=100)
    assert len(await runner.get(str(tmp_path / "large"), limit_bytes=101)) == 101


async def test_connections_are_made_from_the_host(runner: Runner) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await runner.connect("127.0.0.1", port)
    writer.write(b"hello")
    assert await reader.read(100) == b"HELLO"
    writer.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match=str(port)):
        await runner.connect("127.0.0.1", port)


async def test_many_commands_at_once_share_a_connection(ssh_runner: SshRunner) -> None:
    results = await asyncio.gather(*(ssh_runner.run(Command.of("echo", str(n))) for n in range(20)))
    assert [result.text for result in results] == [str(n) for n in range(20)]


async def test_a_broken_connection_is_told_and_the_next_call_connects_again(ssh_runner: SshRunner) -> None:
    with pytest.raises(HostUnavailable, match="not known what was done"):
        await ssh_runner.run(Command.shell("kill -KILL $PPID; sleep 5"))
    assert (await ssh_runner.run(Command.of("echo", "back"))).text == "back"


async def test_a_broken_connection_ends_a_talk(ssh_runner: SshRunner) -> None:
    async with ssh_runner.talk(Command.shell("read -r word; kill -KILL $PPID; sleep 5")) as (reader, writer):
        writer.write(b"go\n")
        assert await reader.read(100) == b""
        with contextlib.suppress(OSError):  # or what is written is lost
            writer.write(b"more\n")
            await writer.drain()
    assert (await ssh_runner.run(Command.of("echo", "back"))).text == "back"


async def test_a_half_sent_file_is_not_taken(ssh_runner: SshRunner, tmp_path: Path) -> None:
    """The script that receives counts what came: a connection that breaks in the middle looks like an end of file."""
    from skep.deploy.shell.ssh import _PUT

    target = tmp_path / "file"
    short = Command.shell(_PUT, str(target), str(tmp_path / ".t"), "10", "644", stdin=b"short")
    with pytest.raises(CommandFailed, match="only 5 of 10 bytes"):
        await ssh_runner.run(short)
    assert list(tmp_path.iterdir()) == []


async def test_a_host_with_another_key_is_not_spoken_to(ssh_target: SshTarget) -> None:
    import asyncssh
    import msgspec

    assert await host_key_of("127.0.0.1", ssh_target.port) == ssh_target.host_key
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    runner = SshRunner(msgspec.structs.replace(ssh_target, host_key=other))
    with pytest.raises(HostUnavailable, match="another host key"):
        await runner.run(Command.of("true"))
    stranger = SshRunner(msgspec.structs.replace(ssh_target, key=_new_key(ssh_target)))
    with pytest.raises(HostUnavailable, match="authorized_keys"):
        await stranger.run(Command.of("true"))


def _new_key(target: SshTarget) -> Path:
    import asyncssh

    assert target.key is not None
    path = target.key.with_name("stranger")
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(path))
    return path


async def test_nobody_there_is_told() -> None:
    runner = SshRunner(SshTarget(address="127.0.0.1", port=1, host_key="ssh-ed25519 AAAA"))
    with pytest.raises(HostUnavailable):
        await runner.run(Command.of("true"))


async def test_a_recording_answers_as_it_is_told() -> None:
    from skep.deploy.shell.records import Result

    runner = RecordingRunner(answer=lambda command: Result(exit_code=len(command.argv) - 1, stdout=b"x\ny\n"))
    assert (await runner.run(Command.of("one"))).ok
    with pytest.raises(CommandFailed):
        await runner.run(Command.of("two", "words"))
    async with runner.lines(Command.of("one")) as lines:
        assert [line async for line in lines] == [b"x", b"y"]
    await runner.put(b"content", "/etc/file", mode=0o600)
    assert runner.files == {"/etc/file": (b"content", 0o600)}
    assert [command.argv for command in runner.commands] == [("one",), ("two", "words"), ("one",)]
