"""Placing, making room, draining and planning anew: functions from a layout to a decision."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from skep.deploy.grid.drain import plan_drain
from skep.deploy.grid.layout import Block, Layout
from skep.deploy.grid.options import Options
from skep.deploy.grid.place import candidates, place
from skep.deploy.grid.preview import Step, preview
from skep.deploy.grid.records import UNMOVABLE, BlockFacts, Move, ServerType, Slice
from skep.deploy.grid.replan import replan
from skep.deploy.grid.room import make_room
from skep.deploy.stack.records import Size

MIB = 1 << 20


def size(memory_mib: int, cpu_millis: int = 0) -> Size:
    return Size(memory_bytes=memory_mib * MIB, cpu_millis=cpu_millis)


def item(slice_id: str, memory_mib: int, cpu_millis: int = 0, **facts: object) -> Slice:
    return Slice(id=slice_id, size=size(memory_mib, cpu_millis), **facts)  # type: ignore[arg-type]


def fleet(*blocks: tuple[Slice, ...], memory_mib: int = 1000, cpu_millis: int = 1000, **facts: object) -> Layout:
    layout = Layout()
    for number, slices in enumerate(blocks):
        layout.open(
            Block(BlockFacts(id=f"b{number}", size=size(memory_mib, cpu_millis), number=number, **facts))  # type: ignore[arg-type]
        )
        for one in slices:
            layout.put(one, f"b{number}")
    return layout


def chosen(block: Block | None) -> str | None:
    return block.facts.id if block else None


def test_the_tightest_fit_is_taken() -> None:
    layout = fleet((item("a", 300),), (item("b", 700),), (item("c", 850),))
    assert chosen(place(layout, item("new", 200))) == "b1"


def test_equals_go_to_the_oldest() -> None:
    assert chosen(place(fleet((), (), ()), item("new", 200))) == "b0"


def test_an_image_that_is_there_decides_between_equals() -> None:
    layout = fleet((item("a", 100),), (item("b", 100, image="shop"),))
    assert chosen(place(layout, item("new", 100, image="shop"))) == "b1"


def test_replicas_of_a_new_release_are_apart_when_the_old_ones_have_gone() -> None:
    layout = fleet(*((item(f"old{number}", 100, group="shop.web"),) for number in range(4)))
    for number in range(4):
        block = place(layout, new := item(f"new{number}", 100, group="shop.web"))
        assert block is not None
        layout.put(new, block.facts.id)
    assert sorted(layout.homes[f"new{number}"] for number in range(4)) == ["b0", "b1", "b2", "b3"]


def test_a_balanced_rest_is_better_than_a_lopsided_one() -> None:
    layout = fleet((item("a", 500, 100),), (item("b", 300, 300),))
    assert chosen(place(layout, item("new", 300, 300))) == "b1"


def test_replicas_lie_apart_where_that_can_be_had() -> None:
    layout = fleet((item("web.1", 700, group="web"),), ())
    second = item("web.2", 200, group="web")
    assert chosen(place(layout, second)) == "b1"
    layout.block("b1").closed = True
    assert chosen(place(layout, second)) == "b0"
    assert place(layout, second, together=False) is None


def test_tags_pins_and_ports_are_obeyed() -> None:
    layout = fleet((item("a", 100, ports=frozenset({25})),), ())
    layout.open(Block(BlockFacts(id="ssd", size=size(1000, 1000), number=9, tags=frozenset({"ssd", "de"}))))
    assert chosen(place(layout, item("t", 100, tags=frozenset({"ssd"})))) == "ssd"
    assert place(layout, item("t", 100, tags=frozenset({"gpu"}))) is None
    assert chosen(place(layout, item("p", 100, pinned="b1"))) == "b1"
    assert chosen(place(layout, item("m", 100, ports=frozenset({25})))) == "b1"


def test_candidates_say_why_not() -> None:
    layout = fleet((item("a", 950),), ())
    layout.block("b1").closed = True
    told = {one.block: one for one in candidates(layout, item("new", 100))}
    assert told["b0"].refused == "too little room"
    assert told["b1"].refused == "takes no new slices"


def test_one_move_makes_room_for_a_job_that_fits_nowhere() -> None:
    """moby#24103: three servers, each half full, cannot take a job that needs 60 % until one small job moves."""
    layout = fleet((item("a", 300), item("b", 300)), (item("c", 500),), (item("d", 500),))
    big = item("big", 600)
    assert place(layout, big) is None
    found = make_room(layout, big, worth=1.0)
    assert found is not None
    block, moves = found
    assert (block.facts.id, len(moves)) == ("b0", 1)
    for move in moves:
        layout.move(move.slice, move.target)
    assert not block.refusal(big)


def test_a_chain_of_two_makes_room() -> None:
    layout = fleet((item("a", 400), item("z", 250)), (item("b", 300), item("c", 400)), (item("d", 650),))
    big = item("big", 700)
    assert make_room(layout, big, worth=2.0, chain=False) is None
    found = make_room(layout, big, worth=2.0)
    assert found is not None
    block, moves = found
    assert len(moves) == 2
    for move in moves:
        assert not layout.block(move.target).refusal(layout.home(move.slice).slices[move.slice])
        layout.move(move.slice, move.target)
    assert not block.refusal(big)


def test_room_is_not_made_with_services_or_pinned_slices_or_beyond_its_worth() -> None:
    layout = fleet((item("a", 300), item("b", 300)), (item("c", 500),))
    assert make_room(layout, item("big", 600), worth=2.0) is not None
    pinned = fleet((item("a", 300, pinned="b0"), item("b", 300, pinned="b0")), (item("c", 500, pinned="b1"),))
    assert make_room(pinned, item("big", 600), worth=2.0) is None
    for disruption in (UNMOVABLE, 3.0):
        facts = {"disruption": disruption}
        layout = fleet((item("a", 300, **facts), item("b", 300, **facts)), (item("c", 500, **facts),))
        assert make_room(layout, item("big", 600), worth=2.0) is None


def test_a_drain_empties_the_block_that_costs_the_least() -> None:
    layout = fleet((item("a", 400), item("b", 200)), (item("c", 100),), (item("d", 700),))
    found = plan_drain(layout, budget=4)
    assert found is not None
    assert found.block == "b1"
    assert found.moves == (Move("c", "b1", "b2"),)
    assert [len(block.slices) for block in layout.blocks.values()] == [2, 1, 1], "planning changes nothing"


def test_no_drain_without_budget_without_gain_or_with_pinned_slices() -> None:
    layout = fleet((item("a", 100),), (item("b", 100),))
    assert plan_drain(layout, budget=0) is None
    free = fleet((item("a", 100),), (item("b", 100),), price=0.0)
    assert plan_drain(free, budget=4) is None, "servers that cost nothing are not worth a move"
    assert plan_drain(fleet((item("a", 100, pinned="b0"),), (item("b", 100, pinned="b1"),)), budget=4) is None


def test_a_drain_keeps_headroom_and_replicas_apart() -> None:
    layout = fleet((item("a", 100),), (item("b", 500),))
    assert plan_drain(layout, budget=4, headroom=size(400)) is not None
    assert plan_drain(layout, budget=4, headroom=size(500)) is None
    layout = fleet((item("web.1", 100, group="web"),), (item("web.2", 100, group="web"),))
    assert plan_drain(layout, budget=4) is None


def test_planning_anew_gives_an_order_that_can_be_followed() -> None:
    layout = fleet(*((item(f"s{n}", 300),) for n in range(9)))
    found = replan(layout, moves=6)
    assert len(found.moves) <= 6
    assert len(found.emptied) == 6
    assert found.saved == 6.0
    for move in found.moves:
        assert not layout.block(move.target).refusal(layout.home(move.slice).slices[move.slice])
        layout.move(move.slice, move.target)
    assert all(not layout.block(block_id).slices for block_id in found.emptied)
    assert replan(layout, moves=0).moves == ()


SLICES = st.lists(
    st.tuples(st.integers(1, 700), st.integers(0, 700), st.sampled_from(["", "", "x", "y"]), st.booleans()), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(SLICES, st.integers(1, 5))
def test_no_rule_ever_breaks_a_block(shapes: list[tuple[int, int, str, bool]], budget: int) -> None:
    layout = fleet((), (), (), ())
    for number, (memory_mib, cpu_millis, group, movable) in enumerate(shapes):
        one = item(f"s{number}", memory_mib, cpu_millis, group=group, disruption=1.0 if movable else UNMOVABLE)
        block = place(layout, one)
        if block is None:
            before = dict(layout.homes)
            found = make_room(layout, one, worth=2.0)
            assert layout.homes == before
            if found is None:
                continue
            block, moves = found
            for move in moves:
                assert layout.home(move.slice).slices[move.slice].movable
                assert not layout.block(move.target).refusal(layout.home(move.slice).slices[move.slice])
                layout.move(move.slice, move.target)
        elif group and block.holds_group(group):
            assert all(other.holds_group(group) or other.refusal(one) for other in layout.blocks.values()), (
                "two of a group lie together only where nothing else has room"
            )
        layout.put(one, block.facts.id)
        _sound(layout)
    drain = plan_drain(layout, budget=budget)
    if drain is not None:
        assert len(drain.moves) <= budget
        for move in drain.moves:
            assert layout.home(move.slice).slices[move.slice].movable
            layout.move(move.slice, move.target)
        assert not layout.block(drain.block).slices
        _sound(layout)


def _sound(layout: Layout) -> None:
    for block in layout.blocks.values():
        assert min(block.cpu, block.memory, block.disk) >= 0
        assert block.cpu == block.facts.size.cpu_millis - sum(s.size.cpu_millis for s in block.slices.values())
        assert block.memory == block.facts.size.memory_bytes - sum(s.size.memory_bytes for s in block.slices.values())
        assert {layout.homes[slice_id] for slice_id in block.slices} <= {block.facts.id}


def test_a_preview_places_moves_and_rents_and_changes_nothing() -> None:
    layout = fleet((item("a", 600),), (item("b", 300), item("c", 300)))
    options = Options(max=3, types=(ServerType("small", size(1000, 1000), 0.01), ServerType("large", size(4000), 0.03)))
    wanted = [item("x", 300), item("y", 650), item("z", 900), item("zz", 900)]
    steps = preview(layout, options, wanted, credit=2.0, can_create=True)
    assert [(one.kind, one.slice, one.block) for one in steps] == [
        ("place", "x", "b0"),
        ("rent", "y", "small"),
        ("place", "y", "small (new 3)"),
        ("full", "z", ""),
        ("full", "zz", ""),
    ]
    assert steps[1].price == 0.01
    assert layout.homes == {"a": "b0", "b": "b1", "c": "b1"}
    assert preview(layout, options, [item("x", 650)], credit=2.0, can_create=False) == (
        Step(kind="move", slice="b", block="b0", source="b1"),
        Step(kind="place", slice="x", block="b1"),
    )
    assert preview(layout, options, [item("x", 700)], credit=0.0, can_create=False) == (Step(kind="full", slice="x"),)
