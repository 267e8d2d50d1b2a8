"""Who may do what with credit; plans, codes, prices, keys and callbacks."""

from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import (
    BadCredentials,
    BadInput,
    BadSignature,
    CreditExhausted,
    Forbidden,
    InUse,
    InvalidSize,
    KeyReused,
    PlanNotFound,
    PromoRefused,
    RateLimited,
    TransferNotFound,
    UserNotFound,
)
from skep.credit import Credit, Payment, PlanTerms, Promo, plans
from skep.credit.months import DAY_US, month_of
from skep.credit.payments import require_signature, sign
from skep.credit.tokens import token_of
from skep.testing.accounts import AuthBench

GB = 1 << 30


def code(name: str, **given: object) -> Promo:
    facts = {"bytes": GB, "money": 0, "plan_id": None, "plan_us": None, "uses_max": None, "uses": 0, "until_us": None}
    return Promo(**{"code": name, "from_us": 0, **facts, **given})


async def has(credit: Credit, who: object, account: str = "", unit: str = "bytes") -> int:
    holder = await credit.holder(who, account)
    return next(one.amount for one in holder.balances if one.unit == unit)


async def test_accounts_are_their_owners_and_the_administrators(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    await bench.user("bob")
    ann = await bench.principal("ann")
    await credit.deposit(bench.root, "user:ann", "bytes", GB, key="order 1")
    assert (await credit.deposit(bench.root, "user:ann", "bytes", GB, key="order 1")).repeated
    assert await has(credit, ann) == GB
    with pytest.raises(Forbidden):
        await credit.holder(ann, "user:bob")
    with pytest.raises(Forbidden):
        await credit.deposit(ann, "user:ann", "bytes", GB)
    with pytest.raises(Forbidden):  # and not UserNotFound: it is no way to ask who is here
        await credit.holder(ann, "user:nobody")
    with pytest.raises(UserNotFound):
        await credit.holder(bench.root, "user:nobody")
    with pytest.raises(BadInput):
        await credit.deposit(bench.root, "system:outside", "bytes", 1)


async def test_gifts_take_from_the_giver(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    await bench.user("bob")
    ann, bob = await bench.principal("ann"), await bench.principal("bob")
    await credit.deposit(bench.root, "user:ann", "bytes", 100)
    await credit.give(ann, "user:bob", "bytes", 60)
    assert (await has(credit, ann), await has(credit, bob)) == (40, 60)
    with pytest.raises(CreditExhausted):
        await credit.give(ann, "user:bob", "bytes", 41)
    for amount in (0, -5, 2**70):
        with pytest.raises(InvalidSize):
            await credit.give(ann, "user:bob", "bytes", amount)
    with pytest.raises(BadInput):
        await credit.give(ann, "user:ann", "bytes", 1)


async def test_keys_of_programs_do_what_they_may(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    _, secret = await credit.add_key(bench.root, "shop", "deposit")
    assert (await credit.add_key(bench.root, "old", "both", "secret-key"))[1] == "secret-key"
    assert (await credit.add_key(bench.root, "old", "both", "secret-key"))[1] == "secret-key"
    shop = await credit.require_key(secret, "deposit")
    done = await credit.deposit(shop, "user:ann", "bytes", 10)
    with pytest.raises(Forbidden):
        await credit.require_key(secret, "withdraw")
    with pytest.raises(Forbidden):
        await credit.withdraw(shop, "user:ann", "bytes", 1)
    with pytest.raises(BadCredentials):
        await credit.require_key(secret + "x", "deposit")
    other = await credit.require_key("secret-key", "withdraw")
    with pytest.raises(TransferNotFound):
        await credit.refund(other, done.transfer.id)
    assert (await credit.refund(shop, done.transfer.id)).transfer.amount == 10
    assert (await credit.refund(shop, done.transfer.id)).repeated
    await credit.remove_key(bench.root, "shop")
    with pytest.raises(BadCredentials):
        await credit.require_key(secret, "deposit")


async def test_a_code_is_redeemed_once_for_each_account_and_so_often(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.add_promo(bench.root, code("PLEASE", uses_max=3))
    changed, is_new = await credit.add_promo(bench.root, code("PLEASE", bytes=5))
    assert (changed.bytes, is_new) == (GB, False)
    await credit.redeem(ann, "PLEASE")
    for again in ("PLEASE", "please", "NOTHING", "", "x" * 1000):
        with pytest.raises(PromoRefused):
            await credit.redeem(ann, again)
    assert await has(credit, ann) == GB
    tries = [credit.redeem_for_token(token_of(bytes([n] * 12)), "PLEASE") for n in range(10)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, PromoRefused) for one in done) == 8
    assert (await credit.list_promos(bench.root))[0].uses == 3
    assert await credit.audit(bench.root) == []


async def test_two_requests_race_for_one_code(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.add_promo(bench.root, code("ONCE"))
    done = await asyncio.gather(*(credit.redeem(ann, "ONCE") for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(one, PromoRefused) for one in done) == 1
    assert await has(credit, ann) == GB


async def test_a_code_has_its_time(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann, now = await bench.principal("ann"), bench.clock.now_us()
    await credit.add_promo(bench.root, code("LATER", from_us=now + DAY_US, until_us=now + 2 * DAY_US))
    with pytest.raises(PromoRefused):
        await credit.redeem(ann, "LATER")
    bench.clock.jump(1.5 * 86_400)
    await credit.redeem(ann, "LATER")
    bench.clock.jump(86_400)
    with pytest.raises(PromoRefused):
        await credit.redeem_for_token(token_of(b"a" * 12), "LATER")
    for bad in (code("X", bytes=-1), code("X", bytes=0), code("X", uses_max=0), code("X", bytes=2**63), code(" X")):
        with pytest.raises(BadInput):
            await credit.add_promo(bench.root, bad)


async def test_many_wrong_codes_are_slowed_down(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    for _ in range(20):
        with pytest.raises(PromoRefused):
            await credit.redeem(ann, "guess", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await credit.redeem(ann, "guess", address="192.0.2.1")


async def test_credit_is_bought_at_the_price_of_the_moment(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann, now = await bench.principal("ann"), bench.clock.now_us()
    old = await credit.add_price(bench.root, 100 * GB, 500, until_us=now + DAY_US)
    await credit.add_price(bench.root, 100 * GB, 700, from_us=now + DAY_US)
    await credit.deposit(bench.root, "user:ann", "money", 1100)
    await credit.buy(ann, old.id, 2, key="k")
    assert (await credit.buy(ann, old.id, 2, key="k")).repeated
    assert (await has(credit, ann), await has(credit, ann, unit="money")) == (200 * GB, 100)
    with pytest.raises(CreditExhausted):
        await credit.buy(ann, old.id)
    assert await has(credit, ann) == 200 * GB
    bench.clock.jump(2 * 86_400)
    assert [price.cost for price in await credit.prices()] == [700]
    assert (await credit.buy(ann, old.id, 2, key="k")).repeated
    with pytest.raises(BadInput):
        await credit.buy(ann, old.id)


async def test_plans_are_paid_kept_and_given_back(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.put_plan(bench.root, "plus", PlanTerms(cost=3000, credit_bytes=7, overdraft_bytes=9, is_open=True))
    await credit.put_plan(bench.root, "inner", PlanTerms())
    assert [plan.name for plan in await credit.list_plans(ann)] == ["plus"]
    with pytest.raises(PlanNotFound):
        await credit.choose_plan(ann, "inner")
    with pytest.raises(CreditExhausted):
        await credit.choose_plan(ann, "plus")
    await credit.deposit(bench.root, "user:ann", "money", 6000)
    await credit.choose_plan(ann, "plus")
    assert (await has(credit, ann), await has(credit, ann, unit="money")) == (7, 3000)
    bench.clock.jump(29 * 86_400)
    assert await credit.renew_plans() == 0
    bench.clock.jump(86_400)
    assert await credit.renew_plans() == 1
    assert await credit.renew_plans() == 0
    assert (await has(credit, ann), await has(credit, ann, unit="money")) == (14, 0)
    bench.clock.jump(15 * 86_400)
    await credit.choose_plan(ann, None)  # half of the 30 days are left
    assert await has(credit, ann, unit="money") == 1500
    await credit.choose_plan(bench.root, "inner", who="user:ann")
    with pytest.raises(InUse):
        await credit.remove_plan(bench.root, "inner")
    assert await credit.audit(bench.root) == []


async def test_a_plan_that_cannot_be_paid_is_not_in_force(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.put_plan(bench.root, "plus", PlanTerms(cost=100, is_open=True))
    await credit.deposit(bench.root, "user:ann", "money", 100)
    await credit.choose_plan(ann, "plus")
    bench.clock.jump(31 * 86_400)
    await credit.renew_plans()
    assert (await credit.holder(ann)).plan is None
    await credit.deposit(bench.root, "user:ann", "money", 250)
    bench.clock.jump(400 * 86_400)  # a year without it costs nothing
    await credit.renew_plans()
    assert (await credit.holder(ann)).plan == "plus"
    assert await has(credit, ann, unit="money") == 150
    bench.clock.jump(-200 * 86_400)
    assert await credit.renew_plans() == 0


async def test_prepaid_time_begins_with_use_and_ends(bench: AuthBench, credit: Credit) -> None:
    await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.put_plan(bench.root, "free", PlanTerms(is_open=True))
    await credit.put_plan(bench.root, "plus", PlanTerms())
    await credit.choose_plan(ann, "free")
    await credit.prepay_plan(bench.root, "user:ann", "plus", 30 * DAY_US)
    account = (await credit.holder(ann)).account_id
    assert (await credit.holder(ann)).plan == "plus"  # not begun, and yet in force
    bench.clock.jump(100 * 86_400)
    await credit.renew_plans()
    assert (await credit.holder(ann)).plan == "plus"
    assert await bench.db.write(lambda tx: plans.begin(tx, account)) is not None
    assert await bench.db.write(lambda tx: plans.begin(tx, account)) is None
    bench.clock.jump(30 * 86_400)
    assert (await credit.holder(ann)).plan == "plus"  # to the very end
    bench.clock.jump(1)
    await credit.renew_plans()
    assert (await credit.holder(ann)).plan == "free"


async def test_a_deleted_user_has_no_account_any_more(bench: AuthBench, credit: Credit) -> None:
    user = await bench.user("ann")
    ann = await bench.principal("ann")
    await credit.deposit(bench.root, "user:ann", "bytes", 10)
    await credit.put_plan(bench.root, "plus", PlanTerms(is_open=True))
    await credit.choose_plan(ann, "plus")
    await bench.auth.delete_user(bench.root, "ann")
    with pytest.raises(UserNotFound):
        await credit.deposit(bench.root, "user:ann", "bytes", 1)
    with pytest.raises(InUse):  # a credential that outlived its user moves nothing
        await credit.give(ann, "token:0000000000000000", "bytes", 1)
    with pytest.raises(InUse):
        await credit.redeem(ann, "X")
    with pytest.raises(UserNotFound):
        await credit.settle(Payment("1", f"user:{user.id.hex()}", "money", 5))
    await credit.remove_plan(bench.root, "plus")
    assert await credit.audit(bench.root) == []


async def test_callbacks_are_signed_of_now_and_done_once(bench: AuthBench, credit: Credit) -> None:
    secret, body, now_s = credit.rules.payment_secret, b'{"id":"1"}', bench.clock.now_us() // 1_000_000
    good = sign(secret, now_s, body)
    require_signature(secret, good, body, bench.clock.now_us())
    require_signature(secret, f"t={now_s},v1={'0' * 64},{good.partition(',')[2]}", body, bench.clock.now_us())
    forged = ["", "t=1", "v1=", f"t={now_s},v1={'0' * 64}", sign("another", now_s, body), good + "0", "é=ü,v1=ß"]
    for header in [None, *forged, sign(secret, now_s - 301, body), sign(secret, now_s + 301, body), f"t=1,{good}"]:
        with pytest.raises(BadSignature):
            require_signature(secret, header, body, bench.clock.now_us())
    with pytest.raises(BadSignature):
        require_signature(secret, good, body + b" ", bench.clock.now_us())
    with pytest.raises(BadSignature):
        require_signature("", sign("", now_s, body), body, bench.clock.now_us())

    await bench.user("ann")
    assert not (await credit.settle(Payment("p1", "user:ann", "money", 500))).done.repeated
    assert (await credit.settle(Payment("p1", "user:ann", "money", 500))).done.repeated
    with pytest.raises(KeyReused):
        await credit.settle(Payment("p1", "user:ann", "money", 501))
    await credit.withdraw(bench.root, "user:ann", "money", 200)
    for _ in range(2):
        back = await credit.settle(Payment("p2", "", "money", 500, refund_of="p1"))
        assert (back.done.transfer.amount, back.missing) == (300, 200)
    assert await has(credit, bench.root, "user:ann", "money") == 0
    assert await credit.audit(bench.root) == []


def test_tokens_are_the_digits_of_their_bytes() -> None:
    assert token_of(b"f" * 12) == "oiFyR2NcMvaSiNDf"
    assert token_of(bytes(12)) == "0" * 16
    assert token_of(b"\xff" * 12) == "1Jdv7bvXPJU9IS2f"


def test_months_are_of_the_calendar() -> None:
    assert month_of(0) == 197001
    assert month_of(1_700_000_000_000_000) == 202311
    assert month_of(1_701_388_799_999_999) == 202311
    assert month_of(1_701_388_800_000_000) == 202312
