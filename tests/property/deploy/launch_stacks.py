"""Stacks that launches are tested with."""

from __future__ import annotations

from skep.deploy.stack.records import Health, Job, Port, Stack, Volume

TCP = Health(kind="tcp", port=80, grace_s=5.0, timeout_s=1.0)
GOOD = ("program", "stay")
ENDS = ("program", "exit", "3", "no luck")
NEVER_WELL = ("program", "serve", "failing")


def shop(
    version: int = 1,
    *,
    scale: int = 2,
    db: int = 1,
    mail: int = 2,
    run: tuple[str, ...] = GOOD,
    domain: str = "a.test",
    extra: str = "",
    name: str = "shop",
) -> Stack:
    """A service, a web job and a worker; ``extra`` is one of fixed, files, none, no-mail."""
    jobs = [
        Job(
            name="db",
            kind="service",
            image=f"image:{db}",
            expose=(Port(number=5432),),
            health=Health(kind="tcp", port=5432),
            volumes=(Volume(path="/data", name="db.data"),),
        ),
        Job(
            name="web",
            kind="web",
            image=f"image:{version}",
            run=run,
            expose=(Port(number=80),),
            domains=(domain,),
            health=TCP,
            scale=scale,
            links=("db",),
        ),
    ]
    if extra != "no-mail":
        jobs.append(Job(name="mail", kind="worker", image=f"image:{mail}", hook="on", unhook="off"))
    if extra == "fixed":
        ports = (Port(number=25, host_port=2525),)
        jobs.append(Job(name="fixed", kind="worker", image=f"image:{version}", expose=ports))
    if extra == "files":
        volumes = (Volume(path="/files", name="files"),)
        jobs.append(Job(name="files", kind="worker", image=f"image:{version}", volumes=volumes, scale=2))
    return Stack(name=name, jobs=tuple(jobs))
