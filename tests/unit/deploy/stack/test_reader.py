"""What a stack file means, and that whatever is wrong in it is told where it stands."""

from __future__ import annotations

import re

import pytest

from skep.base.errors import BadInput, InvalidStack
from skep.deploy.stack.crossing import build_order, check_tree, start_order
from skep.deploy.stack.manual import EXAMPLE_STACK, EXAMPLES, example, meanings
from skep.deploy.stack.reader import KEYS, KINDS, read_stack
from skep.deploy.stack.records import Build, Health, Job, Port, Size, Volume


def job(text: str) -> Job:
    (only,) = read_stack(text, "shop").jobs
    return only


def wrong(text: str) -> list[str]:
    with pytest.raises(InvalidStack) as caught:
        read_stack(text, "shop")
    assert caught.value.details["problems"]
    return caught.value.message.splitlines()


# --- the examples are the schema -------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_stack(name: str) -> None:
    assert read_stack(example(name), EXAMPLE_STACK).jobs


def test_the_annotated_example_explains_every_key_and_no_other() -> None:
    assert set(meanings()) == set(KEYS)
    assert {j.kind for j in read_stack(example("all"), EXAMPLE_STACK).jobs} == set(KINDS)


def test_what_the_annotated_example_says_is_what_is_understood() -> None:
    stack = read_stack(example("all"), EXAMPLE_STACK)
    site = stack.job("site")
    assert site is not None
    assert site.build == Build(
        base="shop/base",
        install=("pip install --no-cache-dir -r requirements.txt", "python manage.py collectstatic --noinput"),
    )
    assert site.run == ("sh", "-c", "exec gunicorn shop.wsgi --bind 0.0.0.0:$PORT")
    assert site.expose == (Port(number=80),)
    assert site.domains == ("shop.example.com", "*.shop.example.com")
    assert site.env == {"WORKERS": "2", "GREETING": "hello"}
    assert (site.links, site.scale, site.stop_grace_s) == (("cache",), 2, 30.0)
    assert site.size == Size(memory_bytes=512 << 20, cpu_millis=250, disk_bytes=1 << 30)
    assert (site.memory_limit_bytes, site.cpu_limit_millis) == (512 << 20, 2000)
    assert site.health == Health(
        kind="http", port=80, path="/healthz", interval_s=1, timeout_s=3, grace_s=30, retries=3
    )
    assert (site.ssl_cert, site.ssl_key) == ("tls/shop.pem", "tls/shop.key")
    cache, mailer, docs = stack.job("cache"), stack.job("mailer"), stack.job("docs")
    assert cache is not None
    assert mailer is not None
    assert docs is not None
    assert (cache.image, cache.build, cache.args) == ("redis:7.2", None, ("--maxmemory", "200mb"))
    assert cache.volumes == (Volume(path="/data", name="cache.data"),)
    assert cache.health == Health(kind="tcp", port=6379)
    assert (mailer.run, mailer.tags, mailer.health) == (("python", "-m", "shop.mailer"), ("eu", "ssd"), None)
    assert (docs.kind, docs.document_root) == ("static", "public")


def test_the_old_vocabulary_means_what_it_meant() -> None:
    stack = read_stack(example("classic"), "test")
    kinds = {j.name: j.kind for j in stack.jobs}
    assert kinds == {"mongo": "service", "redis": "service", "app": "web", "website": "static", "service1": "worker"}
    app, service1 = stack.job("app"), stack.job("service1")
    assert app is not None
    assert service1 is not None
    assert app.build == Build(base="quarry/node", install=("npm install --production",))
    assert app.domains == ("app.test.com", "*.app.test.com")
    assert service1.expose == (Port(number=8791),)
    assert service1.build is not None
    assert service1.build.dockerfile_text.startswith("FROM quarry/node\nADD")


# --- meaning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "build", "image"),
    [
        ("container: redis", None, "redis"),
        ("container: docker/Dockerfile", Build(dockerfile_path="docker/Dockerfile"), ""),
        ("container: ./app.docker", Build(dockerfile_path="app.docker"), ""),
        ("dockerfile: ./docker/Dockerfile.web", Build(dockerfile_path="docker/Dockerfile.web"), ""),
        ("dockerfile: FROM scratch", Build(dockerfile_text="FROM scratch"), ""),
        ("container: x\n  dockerfile: FROM scratch", Build(dockerfile_text="FROM scratch"), ""),
        ("container: node\n  run: node .", Build(base="node"), ""),
        ("run: ./serve", Build(), ""),
        ("run: ./serve\n  install: make", Build(install=("make",)), ""),
    ],
)
def test_where_an_image_comes_from(given: str, build: Build | None, image: str) -> None:
    found = job(f"a:\n  type: worker\n  {given}\n")
    assert (found.build, found.image) == (build, image)


def test_a_service_with_a_command_runs_its_image_as_it_is() -> None:
    found = job("a: {type: service, container: redis, run: redis-server --port 1}")
    assert (found.image, found.build, found.run[-1]) == ("redis", None, "redis-server --port 1")


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ("80", (Port(number=80),)),
        ('"8080:80"', (Port(number=80, host_port=8080),)),
        ("8080:80", (Port(number=80, host_port=8080),)),
        ("22:22", (Port(number=22, host_port=22),)),
        ("[53, '100:54']", (Port(number=53), Port(number=54, host_port=100))),
    ],
)
def test_ports(given: str, ports: tuple[Port, ...]) -> None:
    assert job(f"a:\n  type: worker\n  run: x\n  expose: {given}\n").expose == ports


def test_domains_bring_port_80_and_nothing_else_does() -> None:
    assert job("a: {type: worker, run: x, domains: a.b, expose: 3000}").expose == (Port(number=3000), Port(number=80))
    assert job("a: {type: web, run: x, expose: 3000}").expose == (Port(number=3000),)
    assert job("a: {type: worker, run: x}").expose == ()


def test_values_of_variables_are_the_text_that_stands_there() -> None:
    text = "a:\n  type: worker\n  run: x\n  env: {A: 1.10, B: yes, C: 0x1F, D: '', E: 2001-01-01, F: 1:30, G: a=b}\n"
    assert job(text).env == {
        "A": "1.10", "B": "yes", "C": "0x1F", "D": "", "E": "2001-01-01", "F": "1:30", "G": "a=b",
    }  # fmt: skip
    assert job("a: {type: worker, run: x, env: [A=b=c, D=]}").env == {"A": "b=c", "D": ""}


@pytest.mark.parametrize(
    ("given", "health"),
    [
        ("/up", Health(kind="http", port=80, path="/up")),
        ("tcp", Health(kind="tcp", port=80)),
        ("none", None),
        ("{tcp: yes, port: 3000}", Health(kind="tcp", port=3000)),
        ("{command: 'true', interval: 2}", Health(kind="command", command=("sh", "-c", "true"), interval_s=2.0)),
        ("{command: [check, me], retries: 9}", Health(kind="command", command=("check", "me"), retries=9)),
    ],
)
def test_health(given: str, health: Health | None) -> None:
    text = f"a:\n  type: web\n  run: x\n  domains: a.b\n  expose: [3000]\n  health: {given}\n"
    assert job(text).health == health


def test_volumes_have_names() -> None:
    found = job("a: {type: worker, run: x, volumes: [/data/db/, 'files:/Other', ./up/loads]}").volumes
    assert found == (
        Volume(path="/data/db", name="a.data-db"),
        Volume(path="/Other", name="files"),
        Volume(path="up/loads", name="a.up-loads"),
    )


def test_global_shares_or_takes() -> None:
    base = "a: {type: service, container: x, global: %s}"
    assert (job(base % "yes").shares, job(base % "no").shares, job(base % "true").shares) == (True, False, True)
    assert (job(base % "mongo").shared_from, job(base % "mongo").shares) == ("mongo", False)


def test_international_domains_are_written_as_the_network_does() -> None:
    assert job("a: {type: web, run: x, domains: [Bücher.Example.]}").domains == ("xn--bcher-kva.example",)


# --- what is wrong is told where it stands -----------------------------------------------------------


WRONG = [
    ("", "quarry.yml:1:1: the file declares no job"),
    ("# nothing\n", "quarry.yml:1:1: the file declares no job"),
    ("- a\n", "quarry.yml:1:1: the file is a map of jobs, not a list"),
    ("just text", "quarry.yml:1:1: the file is a map of jobs, not 'just text'"),
    ("web:\n\ttype: web\n", "quarry.yml:2:1: there is a tab"),
    ("web:\n  type: web\n \trun: x\n", "quarry.yml:3:2: there is a tab"),
    ("web: {type: web", "quarry.yml:1:16: this is no YAML"),
    ("web:\n  type: web\n  run: x\n  run: y\n", "quarry.yml:4:3: 'run' is said twice; the first time in line 3"),
    ("web:\n  run: x\n", "quarry.yml:1:1: web has no type"),
    ("web:\n  type: wep\n  run: x",
     "quarry.yml:2:9: 'wep' is no type of a job: they are service, web, worker, cron, static, image; did you"),
    ("web:\n  type: web\n  run: x\n  domain: a.b\n",
     "quarry.yml:4:3: web has no key 'domain'; did you mean 'domains'?"),
    ("web:\n  type: web\n  run: x\n  volums: /x\n", "did you mean 'volumes'?"),
    ("web:\n  type: web\n  run: x\n  qqq: /x\n", "web has no key 'qqq'"),
    ("a:\n  type: worker\n  run: x\n  schedule: '@daily'\n",
     "quarry.yml:4:3: a is a worker job, which has no schedule: only cron have it"),
    ("Web: {type: web, run: x}", "quarry.yml:1:1: 'Web' is no name of a job"),
    ("web: x\n", "quarry.yml:1:6: web takes a map"),
    ("a: {type: worker}", "quarry.yml:1:1: a has no image: say container, dockerfile or run"),
    ("a: {type: image, container: x}", "only repeats x"),
    ("a: {type: worker, container: 'a b'}", "'a b' is no name of an image"),
    ("a: {type: worker, container: [a]}", "a.container takes one text, not a list"),
    ("a: {type: worker, run: x, expose: 0}", "a.expose takes a port"),
    ("a: {type: worker, run: x, expose: 70000}", "not '70000'"),
    ("a: {type: worker, run: x, expose: [80, '1:80']}", "port 80 is exposed twice"),
    ("a: {type: worker, run: x, scale: -1}", "a whole number from 0 to 1000, not '-1'"),
    ("a: {type: worker, run: x, scale: 1.5}", "not '1.5'"),
    ("a: {type: worker, run: x, expose: '1:2', scale: 2}", "a port is one job's"),
    ("a: {type: service, container: x, scale: 2}", "a is a service job, which has no scale"),
    ("a: {type: worker, run: x, size: big}", "'big' is not a size"),
    ("a: {type: worker, run: x, size: {memory: 1GB, cpus: 2}}", "a.size has no key 'cpus'; did you mean 'cpu'?"),
    ("a: {type: worker, run: x, size: {cpu: fast}}", "takes processors"),
    ("a: {type: worker, run: x, health: tcp}", "the job exposes none"),
    ("a: {type: web, run: x, health: {}}", "says one of http, tcp and command"),
    ("a: {type: web, run: x, health: {http: up}}", "a path that begins with /"),
    ("a: {type: web, run: x, health: {http: /, prot: 1}}", "did you mean 'port'?"),
    ("a: {type: web, run: x, health: {http: /, port: 81}}", "health asks port 81, which expose does not have"),
    ("a: {type: web, run: x, domains: a_b.c}", "'a_b.c' is no domain"),
    ("a: {type: web, run: x, domains: 'a.*.c'}", "is no domain"),
    ("a: {type: web, run: x, domains: 10.0.0.1}", "is no domain"),
    ("a: {type: web, run: x, domains: [a.b, A.b]}", "a.b is said twice"),
    ("a: {type: web, run: x, domains: a.b}\nb: {type: web, run: x, domains: A.B}\n",
     "quarry.yml:2:33: a.b is a domain of a already, in line 1"),
    ("a: {type: worker, run: x, expose: '1:2'}\nb: {type: worker, run: x, expose: '1:3'}",
     "port 1 of the host is taken by a already"),
    ("a: {type: worker, run: x, volumes: 'v:/a'}\nb: {type: worker, run: x, volumes: 'v:/a'}",
     "the volume v belongs to a"),
    ("a: {type: worker, run: x, volumes: ./src:/app}", "a directory of the host cannot be a volume"),
    ("a: {type: worker, run: x, volumes: /a/../b}", "is no directory for a volume"),
    ("a: {type: worker, run: x, env: {1A: b}}", "'1A' is no name of a variable"),
    ("a: {type: worker, run: x, env: {A: [b]}}", "a.env.A takes one text, not a list"),
    ("a: {type: worker, run: x, env: [A]}", "a.env[0] takes NAME=VALUE"),
    ("a: {type: worker, run: x, links: b}\nbb: {type: worker, run: x}",
     "a links to 'b', which is no job of this stack; did you mean 'bb'?"),
    ("a: {type: worker, run: x, links: b}\nb: {type: worker, run: x, links: a}", "links goes round: a -> b -> a"),
    ("a: {type: worker, run: x, links: a}", "links goes round: a -> a"),
    ("a: {type: image, dockerfile: FROM shop/b}\nb: {type: image, dockerfile: FROM shop/a}",
     "FROM goes round: a -> b -> a"),
    ("a: {type: worker, container: shop/base, run: x}", "a stands on shop/base, which this stack does not have"),
    ("a: {type: worker, container: shop/b, run: x}\nb: {type: service, container: redis}",
     "stands on shop/b, which is not built"),
    ("a: {type: cron, run: x}", "a is a cron job and has no schedule"),
    ("a: {type: cron, run: x, schedule: '* * * *'}", "is no schedule"),
    ("a: {type: cron, run: x, schedule: '61 * * * *'}", "'61' is no minute"),
    ("a: {type: static, domains: a.b}", "has no document_root"),
    ("a: {type: static, document_root: ../x}", "a path inside the repository"),
    ("a: {type: web, run: x, ssl_cert: a.pem}", "needs both ssl_cert and ssl_key"),
    ("a: {type: worker, run: }", "a.run takes one text, not nothing"),
    ("a: {type: worker, run: x, grace: soon}", "'soon' is not a duration"),
    ("a: {type: worker, run: x, tags: 'a b'}", "is no tag"),
    ("a: &a {type: worker, run: x, links: *a}", "nests deeper"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_what_is_wrong_is_told(text: str, said: str) -> None:
    found = wrong(text)
    assert any(said in line for line in found), found
    assert all(re.match(r"quarry\.yml:\d+:\d+: ", line) for line in found)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = wrong("a:\n  type: worker\n  rum: x\nb:\n  type: web\n  run: x\n  domains: '-'\n  scale: x\n")
    assert [line.split(":")[1] for line in found] == ["1", "3", "7", "8"]


def test_a_file_without_end_is_refused() -> None:
    assert wrong("#" * (2 << 20)) == ["quarry.yml:1:1: the file has more than 1048576 bytes"]
    assert "more than 200 jobs" in wrong("\n".join(f"a{n}: {{type: worker, run: x}}" for n in range(201)))[0]


@pytest.mark.parametrize("name", ["", "Shop", "a/b", "-a", "a" * 41, "a.b"])
def test_names_of_stacks(name: str) -> None:
    with pytest.raises(BadInput):
        read_stack("a: {type: worker, run: x}", name)


# --- order and tree ---------------------------------------------------------------------------------------


def test_images_are_built_before_what_stands_on_them_and_services_start_first() -> None:
    stack = read_stack(
        "web: {type: web, container: shop/base, run: x, links: api}\n"
        "api: {type: worker, dockerfile: FROM shop/base}\n"
        "base: {type: image, dockerfile: FROM debian}\n"
        "db: {type: service, container: mongo}\n",
        "shop",
    )
    assert [j.name for j in build_order(stack)] == ["base", "web", "api"]
    assert [j.name for j in start_order(stack)] == ["db", "api", "web"]


def test_what_the_tree_lacks_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = tmp_path_factory.mktemp("tree")
    text = (
        "web:\n  type: web\n  dockerfile: docker/Dockerfile\n  ssl_cert: a.pem\n  ssl_key: b.pem\n"
        "site:\n  type: static\n  document_root: www\n"
    )
    stack = read_stack(text, "shop")
    assert len(check_tree(stack, tree)) == 4
    (tree / "docker").mkdir()
    (tree / "docker" / "Dockerfile").write_text("FROM shop/gone AS x\nFROM --platform=a shop/site:1")
    (tree / "www").symlink_to("/")
    for name in ("a.pem", "b.pem"):
        (tree / name).write_text("")
    complaints = check_tree(stack, tree)
    assert [line.split(": ")[1].split(",")[0] for line in complaints] == [
        "web stands on shop/gone", "web stands on shop/site", "site serves www",
    ]  # fmt: skip


def test_dockerfiles_of_the_tree_that_go_round_are_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "A").write_text("from shop/b")
    (tree / "B").write_text("FROM shop/a")
    stack = read_stack("a: {type: image, dockerfile: A}\nb: {type: image, dockerfile: B}", "shop")
    with pytest.raises(InvalidStack, match="a and b stand on each other"):
        build_order(stack, tree)
