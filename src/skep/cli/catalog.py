"""The commands of ``skep``: where each lives, and its line in ``skep --help``, so that help imports none of them.

A test compares these lines with the commands' own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One top-level command: ``module`` has a click command ``attribute``."""

    module: str
    attribute: str
    line: str


SECTIONS: dict[str, dict[str, Entry]] = {}


def _section(title: str, module: str, **lines: str) -> None:
    section = SECTIONS.setdefault(title, {})
    for attribute, line in lines.items():
        name = attribute.rstrip("_").replace("_", "-")
        section[name] = Entry(f"skep.cli.{module}", attribute, line)


_section(
    "Run a hive",
    "hive_commands",
    up="Set up a hive on this machine and start it in the background.",
    down="Stop the hive that `skep up` started.",
    status="Say whether the hive on this machine runs, and how it is.",
    serve="Run a hive in the foreground, until SIGTERM or Ctrl-C.",
)
_section("Run a hive", "recover_command", recover="Rebuild a hive from its stores and its master key.")
_section(
    "Who you are",
    "account_commands",
    register="Make an account of your own at a hive, and log in to it.",
    login="Log in to a hive and remember it.",
    logout="End the session at a hive and forget it.",
    whoami="Say who you are and where.",
    passwd="Set a new password for yourself; your sessions elsewhere end.",  # noqa: S106 - a help line
)
_section("Your files", "put_command", put="Upload files and directories.")
_section("Your files", "get_command", get="Download files and directories.")
_section(
    "Your files",
    "file_commands",
    ls="List a directory of the hive.",
    cat="Write a file of the hive to standard output.",
    mkdir="Make directories, with those above them; one that is there is fine.",
    rm="Move files and directories, with all that is in them, to the trash.",
    mv="Move or rename files and directories; no content is moved, versions and tags stay.",
    cp="Copy files and directories inside the hive; copies share their content and take no room at rest.",
)
_section(
    "Your files",
    "history_commands",
    versions="List the versions of a file, newest first.",
    restore="Bring back an older version of a file, or what is in the trash.",
    trash="See, restore or empty the trash.",
    changes="Show what changed in a space, and follow it.",
)
_section(
    "Your files",
    "events_command",
    events="Wait for the next change at or below PATH and show it; with --follow, go on.",
)
_section(
    "Your files",
    "tag_commands",
    tag="Set, remove or list tags: your own words on files and directories.",
    find="List what carries a tag.",
)
_section(
    "Your files", "share_commands", share="Give others access to files and directories, and see what they gave you."
)
_section("Your files", "link_commands", link="Addresses that work without an account: to read, or to put files into.")
_section("Storage", "store_commands", store="The places that hold the hive's data: directories, buckets, clouds.")
_section("Storage", "cloud_commands", cloud="Accounts at cloud providers that the hive may use.")
_section("Storage", "scheme_commands", scheme="How data is spread over the stores.")
_section(
    "Storage",
    "placement_commands",
    placement="Which stores may hold whose content: the hive's, one's own, or both.",
)
_section("Storage", "agent_commands", agent="Lend disk to a hive from this computer, and see who lends.")
_section(
    "Storage",
    "care_commands",
    scrub="Read and verify every shard in the stores, now.",
    repair="Rebuild lost or damaged shards now.",
    gc="Delete content that nothing refers to any more.",
    snapshot="Put an encrypted copy of the metadata on the stores, now.",
    fsck="Check that everything the hive knows of is there and whole.",
    workers="The hive's background work: scrubbing, repairing, collecting, snapshots.",
)
_section("Deploying", "hq_commands", hq="HQ: where stacks are pushed to.")
_section("Deploying", "stack_commands", stack="Stacks: what a quarry.yml declares, here and at HQ.")
_section("Deploying", "servers_commands", servers="Servers: the hosts that stacks run on.")
_section(
    "Deploying",
    "fleet_commands",
    ps="What runs of all stacks, on which servers.",
    grid="Draw the servers and what lies on them.",
)
_section(
    "People",
    "people_commands",
    user="Accounts of this hive.",
    group="Groups of users, each with a space of its own.",
    invite="Invitations to this hive: whoever holds one may make an account.",
    app_password="Passwords for programs that cannot log in like people.",  # noqa: S106 - a help line
)
_section(
    "People",
    "session_commands",
    account="Your own account: take all of it along, or give it up.",
    session="Logins that are still good: see them, end them.",
    factor="Second factors of your account: authenticator apps, passkeys, recovery codes.",
)
_section("People", "sso_commands", sso="Identity providers through which people sign in (OpenID Connect).")
_section("People", "program_access_commands", client="Programs to which the hive vouches for people (OAuth, OIDC).")
_section("People", "audit_commands", audit="The audit log: who did what to accounts and rights.")
_section("People", "ssh_commands", ssh_key="Keys with which programs sign in over SFTP.")
_section(
    "People",
    "credit_commands",
    credit="What accounts have to spend: balances, statements, deposits, prices.",
)
_section("People", "plan_commands", plan="Plans: what accounts may use, and what that costs.")
_section("People", "promo_commands", promo="Promo codes: each gives something, once to an account.")
_section("People", "s3_commands", s3="Access keys for S3 clients.")
_section("Fleet", "locknet_command", locknet="Let these hosts talk to each other, and to nobody else.")
_section(
    "This program", "config_commands", config="Settings of a hive on this machine: what is in force, what they mean."
)
_section(
    "This program", "key_commands", key="The master key of a hive on this machine, and the key that signs its tokens."
)
_section(
    "This program",
    "program_commands",
    completion="Print a completion script for a shell.",
    version="Print the version.",
)

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
