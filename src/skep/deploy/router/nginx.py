"""nginx on a host: a folder of its own, one file for each stack, changes tested aside and taken at once.

What always holds: what is in ``stacks/`` was accepted by ``nginx -t`` together; a stack whose configuration is refused
keeps the one it had, and no other stack waits for it; changes that come while one is being taken are taken together. A
change may be cut off anywhere: a stack counts as served only after nginx took its files from this very object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import AlreadyExists, BadInput, CommandFailed, SkepError, TimedOut
from skep.deploy.router.config import CHALLENGES, main_config, stack_config
from skep.deploy.router.records import Site, check_site, check_stack
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

_RELOAD_WAIT_S = 10.0
_POLL_S = 0.1
_LOOK_S = 0.05
"""Between two looks at the workers of a reload: a wait of 0.03 s and the look itself."""
_STATE = "sites.json"

# $1: our folder. Masters and workers by their parent, which is the only sure sign whose they are.
_WORKERS = """[ -e "$1/nginx.pid" ] && ps -o pid=,args= --ppid "$(cat "$1/nginx.pid")" || true"""
_PREPARE = """set -e
mkdir -p "$1/stacks" "$1/logs" "$1/bodies" "$1/challenges" "$1/certificates"
chmod 700 "$1/certificates"
"""
_TEST = """set -e
folder=$1
cd "$folder"
shift
rm -rf staged
cp -a stacks staged
for change in "$@"; do
    name=${change#?}
    case $change in
        +*) head -c "${name#*:}" > "staged/${name%%:*}.conf" ;;
        -*) rm -f "staged/$name.conf" ;;
    esac
    [ "${change#-}" != "$change" ] || [ "$(wc -c < "staged/${name%%:*}.conf")" -eq "${name#*:}" ] || exit 74
done
nginx -t -q -p "$folder" -c staged.conf
"""
"""Standard input: the new files, one after the other; $2…: ``+STACK:BYTES`` or ``-STACK``."""
_TAKE = """set -e
folder=$1 limit=$2 state=$3
cd "$folder"
shift 3
head -c "$state" > .sites.json.new
[ "$(wc -c < .sites.json.new)" -eq "$state" ] || exit 74
for change in "$@"; do
    name=${change#?}
    case $change in
        +*) mv -f "staged/${name%%:*}.conf" "stacks/${name%%:*}.conf" ;;
        -*) rm -f "stacks/$name.conf" ;;
    esac
done
sync stacks .sites.json.new 2>/dev/null || sync
mv -f .sites.json.new sites.json
"""
_RELOAD = """
taking() {
    ps -o pid=,args= --ppid "$(cat "$folder/nginx.pid")" | grep 'worker process' | grep -v 'shutting down' |
        awk '{ print $1 }' || true
}
before=
[ ! -e "$folder/nginx.pid" ] || before=$(taking)
if [ -z "$before" ]; then
    nginx -p "$folder" -c nginx.conf
    exit 0
fi
nginx -p "$folder" -c nginx.conf -s reload
looks=0
while [ "$looks" -lt "$limit" ]; do
    now=$(taking)
    old=
    for pid in $now; do
        for known in $before; do [ "$pid" != "$known" ] || old=yes; done
    done
    [ -z "$now" ] || [ -n "$old" ] || exit 0
    sleep 0.03
    looks=$((looks + 1))
done
exit 75
"""
"""$limit: how many looks at the workers; 75: the old ones still take requests."""
_NOT_TAKEN = 75
_HERE = """set -e
folder=$1 limit=$2
"""


class Worker(msgspec.Struct, frozen=True):
    """One nginx worker; ``leaving`` ones finish what they have begun and take nothing new."""

    pid: int
    leaving: bool


class NginxRouter:
    """The router of one host. ``folder`` is its own on that host: absolute, made when it is not there.

    ``user``: whom workers run as where nginx starts as root.
    """

    def __init__(
        self,
        runner: Runner,
        folder: str,
        *,
        http_port: int = 80,
        https_port: int = 443,
        drain_s: int = 3600,
        user: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._runner = runner
        self._folder = folder.rstrip("/")
        self._ports = {"http_port": http_port, "https_port": https_port}
        self._drain_s = drain_s
        self._user = user
        self._clock = clock or SystemClock()
        self._sites: dict[str, tuple[Site, ...]] = {}
        self._settled: set[str] = set()
        """Stacks that nginx serves as ``_sites`` says; of others an earlier change may have been cut off half-way."""
        self._waiting: dict[str, tuple[Site, ...]] = {}
        self._told: dict[str, asyncio.Future[None]] = {}
        self._lock = asyncio.Lock()

    @property
    def sites(self) -> Mapping[str, tuple[Site, ...]]:
        """What is served, by stack."""
        return self._sites

    @property
    def challenges(self) -> str:
        """The folder whose files answer below ``/.well-known/acme-challenge/`` on every domain."""
        return f"{self._folder}/{CHALLENGES}"

    # --- Running ------------------------------------------------------------------------------

    async def start(self) -> None:
        """See to it that nginx runs with what was accepted last. Raises CommandFailed with nginx's own words."""
        await self._shell(_PREPARE)
        await self._runner.put(self._main("stacks").encode(), f"{self._folder}/nginx.conf")
        await self._runner.put(self._main("staged").encode(), f"{self._folder}/staged.conf")
        await self._load()
        if await self.workers():
            await self._reload()
        else:
            await self._nginx()

    async def stop(self) -> None:
        """End nginx when its responses are finished. Not running: fine."""
        await self._shell('[ ! -e "$1/nginx.pid" ] || nginx -p "$1" -c nginx.conf -s quit')

    async def workers(self) -> tuple[Worker, ...]:
        """The workers that run now; none when nginx does not run."""
        listed = await self._shell(_WORKERS)
        found = []
        for line in listed.splitlines():
            pid, _, words = line.strip().partition(" ")
            if pid.isdecimal() and "worker process" in words:
                found.append(Worker(int(pid), "shutting down" in words))
        return tuple(found)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no worker is left that knows older sites; False when some still finish responses after that.

        Workers that begin to leave later, by later changes, know what is served now: they are not waited for.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        leaving = {worker.pid for worker in await self.workers() if worker.leaving}
        while leaving:
            if self._clock.monotonic_s() >= deadline_s:
                return False
            await self._clock.sleep(_POLL_S)
            leaving &= {worker.pid for worker in await self.workers() if worker.leaving}
        return True

    # --- Changing -----------------------------------------------------------------------------

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """Serve these sites for a stack from now on, none to take it out; returns when new requests go there.

        Raises BadInput for what is not well formed, AlreadyExists when a domain is another stack's, CommandFailed with
        nginx's words when it refuses; then the stack is served as it was before.
        """
        check_stack(stack)
        for site in sites:
            check_site(site)
        _check_domains(stack, sites, {**self._sites, **self._waiting})
        earlier = self._told.pop(stack, None)
        self._waiting[stack] = tuple(sites)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if earlier is not None:  # the newest wins; whoever asked before is told how that goes
            told.add_done_callback(lambda done: _pass_on(done, earlier))
        self._told[stack] = told
        async with self._lock:
            if self._waiting:
                await asyncio.shield(self._take_waiting())
        await told

    async def _take_waiting(self) -> None:
        changes, told = self._waiting, self._told
        self._waiting, self._told = {}, {}
        try:
            refused = await self._take(changes)
        except SkepError as error:
            refused = dict.fromkeys(changes, error)
        except BaseException:
            for future in told.values():
                future.cancel()
            raise
        for stack, future in told.items():
            if future.done():
                continue
            if stack in refused:
                future.set_exception(refused[stack])
            else:
                future.set_result(None)

    async def _take(self, changes: Mapping[str, tuple[Site, ...]]) -> dict[str, SkepError]:
        """Test all changes together, and one by one if that fails; take the good ones with one reload."""
        changed = {
            stack: sites
            for stack, sites in changes.items()
            if stack not in self._settled or sites != self._sites.get(stack, ())
        }
        if not changed:
            return {}
        refused: dict[str, SkepError] = {}
        good = list(changed)
        error = await self._refusal(changed, good)
        if error is not None and len(good) == 1:
            return {good[0]: error}
        if error is not None:
            good = []
            for stack in changed:
                alone = await self._refusal(changed, [*good, stack])
                if alone is None:
                    good.append(stack)
                else:
                    refused[stack] = alone
            if not good:
                return refused
            last = await self._refusal(changed, good)
            if last is not None:
                return dict.fromkeys(changed, last)
        self._settled.difference_update(good)
        for stack in good:
            if changed[stack]:
                self._sites[stack] = changed[stack]
            else:
                self._sites.pop(stack, None)
        state = msgspec.json.encode(self._sites)
        signs = (self._sign(stack, changed[stack])[0] for stack in good)
        await self._reload(_TAKE, state, *signs)
        self._settled.update(good)
        return refused

    async def _refusal(self, changes: Mapping[str, tuple[Site, ...]], stacks: Sequence[str]) -> SkepError | None:
        """nginx's words about these changes on a staged copy; None when it takes them."""
        signs, texts = zip(*(self._sign(stack, changes[stack]) for stack in stacks), strict=True)
        try:
            await self._shell(_TEST, *signs, stdin=b"".join(texts))
        except CommandFailed as error:
            return error
        return None

    async def _reload(self, before: str = "", state: bytes = b"", *signs: str) -> None:
        """Have new workers with the new files, and see that they are there. Raises TimedOut.

        ``before`` is what is to be done first, by the same command: each is a way to the host and back.
        """
        looks = str(int(_RELOAD_WAIT_S / _LOOK_S))
        try:
            await self._shell((before or _HERE) + _RELOAD, looks, str(len(state)), *signs, stdin=state)
        except CommandFailed as error:
            if error.details.get("exit_code") != _NOT_TAKEN:
                raise
            raise TimedOut(
                f"nginx on {self._runner.host} did not take its new files within {_RELOAD_WAIT_S:g} s: "
                f"see {self._folder}/logs/error.log there"
            ) from None

    def _sign(self, stack: str, sites: Sequence[Site]) -> tuple[str, bytes]:
        """A change as our scripts take it, and the new file."""
        if not sites:
            return f"-{stack}", b""
        text = stack_config(stack, sites, folder=self._folder, **self._ports).encode()
        return f"+{stack}:{len(text)}", text

    # --- Small change -------------------------------------------------------------------------

    async def _nginx(self) -> None:
        await self._shell('nginx -p "$1" -c nginx.conf')

    def _main(self, stacks: str) -> str:
        return main_config(self._folder, stacks=stacks, drain_s=self._drain_s, user=self._user, **self._ports)

    async def _load(self) -> None:
        found = await self._runner.run(Command.shell('cat "$1"', f"{self._folder}/{_STATE}"), check=False)
        if found.ok:
            self._sites = msgspec.json.decode(found.stdout, type=dict[str, tuple[Site, ...]])

    async def _shell(self, script: str, *arguments: str, stdin: bytes = b"") -> str:
        return (await self._runner.run(Command.shell(script, self._folder, *arguments, stdin=stdin))).text


def _pass_on(done: asyncio.Future[None], earlier: asyncio.Future[None]) -> None:
    if earlier.done():
        return
    if done.cancelled():
        earlier.cancel()
    elif (error := done.exception()) is not None:
        earlier.set_exception(error)
    else:
        earlier.set_result(None)


def _check_domains(stack: str, sites: Sequence[Site], known: Mapping[str, Sequence[Site]]) -> None:
    owners = {
        domain: other for other, theirs in known.items() if other != stack for one in theirs for domain in one.domains
    }
    mine: set[str] = set()
    for site in sites:
        for domain in site.domains:
            if domain in owners:
                raise AlreadyExists(
                    f"domain {domain} is stack {owners[domain]}'s: take it out there first", domain=domain
                )
            if domain in mine:
                raise BadInput(f"two jobs of stack {stack} want domain {domain}")
            mine.add(domain)
