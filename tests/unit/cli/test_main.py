"""The command line as a whole: help, errors, exit codes."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys

import click
import pytest

from skep.base import errors
from skep.base.errors import SkepError
from skep.cli import exits
from skep.cli.catalog import COMMANDS
from skep.cli.main import run, skep


def every_command(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)
    found = [(name, command)]
    for child in command.list_commands(context):
        inner = command.get_command(context, child)
        assert inner is not None
        found += every_command(inner, f"{name} {child}")
    return found


ALL = every_command(skep, "skep")


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_explains_itself_and_its_options(name: str, command: click.Command) -> None:
    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", [name for name, command in ALL if isinstance(command, click.Group)])
def test_a_group_lists_its_commands_without_cutting_their_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split()[1:], "--help"]) == 0
    _, _, listed = capsys.readouterr().out.partition("Commands:")
    assert "..." not in listed


@pytest.mark.parametrize("name", ["config", "key"])
def test_a_group_without_a_command_shows_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.split("\n")[0]) == ("", f"Usage: skep {name} [OPTIONS] COMMAND [ARGS]...")


def test_without_a_terminal_nobody_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(["login", "http://127.0.0.1:9"]) == 2
    assert "--password-stdin" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_that_does_something_can_speak_json(name: str, command: click.Command) -> None:
    if not isinstance(command, click.Group):
        assert "--json" in {opt for parameter in command.params for opt in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_catalog_says_what_the_command_says(name: str) -> None:
    command = skep.get_command(click.Context(skep), name)
    assert command is not None
    assert command.help is not None
    assert command.help.split("\n")[0] == COMMANDS[name].line


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)


def test_help_imports_no_command() -> None:
    code = "import sys; from skep.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    heavy = {"skep.client.hive", "skep.cli.put_command", "http.client", "rich", "msgspec", "sqlalchemy", "httpx"}
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pit"], "did you mean `skep put`"),
        (["xyzzy"], "no command 'xyzzy'"),
        (["ls", "--nope"], "skep ls --help"),
        (["put"], "Usage: skep put"),
        (["login"], "URL"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == exits.USAGE
    caught = capsys.readouterr()
    assert said in caught.err + caught.out


def test_without_a_login_one_is_told_to_log_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(["ls", "/"]) == exits.DENIED
    assert capsys.readouterr().err == "skep: not logged in: run `skep login URL` first\n"
    assert run(["ls", "/", "--json"]) == exits.DENIED
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidPath("x"), 2),
        (errors.NodeNotFound("x"), 3),
        (errors.TokenExpired("x"), 4),
        (errors.NameClash("x"), 5),
        (errors.StoreUnavailable("x"), 6),
        (errors.DataLost("x"), 7),
        (errors.QuotaExceeded("x"), 8),
        (errors.KeyMissing("x"), 1),
        (SkepError("x"), 1),
    ],
)
def test_exit_codes(error: SkepError, code: int) -> None:
    assert exits.exit_code(error) == code


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "\n"),
        (errors.NodeNotFound("there is no /x"), 3, "skep: there is no /x\n"),
        (OSError(28, "No space left on device", "/x"), 1, "skep: /x: No space left on device\n"),
        (ZeroDivisionError("boom\nmore"), 1, "skep: internal error, ZeroDivisionError: boom;"),
    ],
)
def test_no_failure_shows_a_traceback(
    raised: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> None:
        raise raised

    monkeypatch.delenv("SKEP_DEBUG", raising=False)
    monkeypatch.setattr(skep, "main", fail)
    assert run(["version"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from skep.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "config", "example"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) in ((141, b""), (0, b""))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"version", "python"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_SKEP_COMPLETE" in capsys.readouterr().out


def test_completion_knows_the_commands() -> None:
    environment = {**os.environ, "_SKEP_COMPLETE": "bash_complete", "COMP_WORDS": "skep ver", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'skep'; from skep.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == {"versions", "version"}


def test_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "explain", "server.port"]) == 0
    assert "SKEP_SERVER_PORT" in capsys.readouterr().out
    assert run(["config", "explain", "port"]) == exits.USAGE
    assert "did you mean server.port" in capsys.readouterr().err
    assert run(["config", "show", "--json"]) == 0
    assert "server.port" in {known["key"] for known in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize("as_json", [True, False])
def test_who_reads_a_pipe_hears_of_a_result_while_the_program_goes_on(as_json: bool) -> None:
    program = (
        f"import sys; from skep.cli.output import Output; Output({as_json}).value('up', 'up'); sys.stdin.readline()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        readable, _, _ = select.select([process.stdout], [], [], 30)
        process.communicate(b"\n")
    assert readable
