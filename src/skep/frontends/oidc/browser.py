"""What browsers do here: sign in, authorize a program (RFC 6749 section 4.1), let a device in (RFC 8628)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from skep.auth.questions import PageSession
from skep.auth.vouching import Asked, OAuthRefusal
from skep.base.errors import BadCredentials, BadInput, Denied, Forbidden, SkepError
from skep.frontends.common.browsers import redirect, set_cookie
from skep.frontends.common.origins import is_of_another_site
from skep.frontends.oidc import pages
from skep.frontends.oidc.exchange import PAGE_COOKIE, Exchange

_NEXT = re.compile(r"/oauth/(authorize|device)(\?[^\\\x00-\x20\x7f]{0,4000})?")
_KEPT = (
    "client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
)  # fmt: skip
DEVICE = "/oauth/device"


async def sign_in(exchange: Exchange) -> None:
    """Take a name and password (and code), or a ticket of an identity provider, and go on."""
    _own_form_only(exchange)
    form = await exchange.form()
    following = form.get("next", DEVICE)
    if not _NEXT.fullmatch(following):
        following = DEVICE
    try:
        if form.get("ticket"):
            cookie = await exchange.auth.open_page_by_ticket(form["ticket"])
        else:
            cookie = await exchange.auth.open_page(
                form.get("name", ""), form.get("password", ""), form.get("code", "").strip(), exchange.client
            )
    except SkepError as error:
        if not isinstance(error, Denied) and error.code != "rate-limited":
            raise
        status = 429 if error.code == "rate-limited" else 403 if isinstance(error, Forbidden) else 401
        await pages.sign_in(exchange, following, wrong=error.message, status=status, name=form.get("name", "")[:200])
        return
    kept = set_cookie(PAGE_COOKIE, cookie, path="/oauth", lasts_s=900, base=exchange.base)
    await redirect(exchange, following, kept)


async def sign_out(exchange: Exchange) -> None:
    """Forget who sits there."""
    _own_form_only(exchange)
    _require_form(exchange.page, await exchange.form())
    exchange.auth.close_page(exchange.cookie)
    gone = set_cookie(PAGE_COOKIE, "", path="/oauth", lasts_s=0, base=exchange.base)
    await pages.told(exchange, "Signed out", "You can close this page, or begin again.", cookie=gone)


async def authorize(exchange: Exchange) -> None:
    """Ask the person before the browser whether a program may act for them."""
    fields = exchange.query()
    asked = await _asked(exchange, fields)
    if asked is None:
        return
    if fields.get("prompt") == "none":
        await _back(exchange, asked.redirect_uri, asked.state, error="interaction_required")
        return
    page = exchange.page
    if page is None or not await _is_still(exchange, page):
        await pages.sign_in(exchange, f"/oauth/authorize?{urlencode(fields)}")
        return
    kept = {name: fields[name] for name in _KEPT if name in fields} | {"form": page.form}
    await pages.consent(exchange, page.name, asked.client.name, sorted(asked.scopes), "/oauth/authorize", kept)


async def decide(exchange: Exchange) -> None:
    """Take the person's answer, and send the browser back to the program."""
    _own_form_only(exchange)
    form = await exchange.form()
    page = _require_form(exchange.page, form)
    asked = await _asked(exchange, form)
    if asked is None:
        return
    if form.get("decision") != "allow":
        await _back(exchange, asked.redirect_uri, asked.state, error="access_denied")
        return
    await _back(exchange, asked.redirect_uri, asked.state, code=await exchange.auth.allow(page, asked))


async def device(exchange: Exchange) -> None:
    """Ask for the code that a device shows, and whether to let it in."""
    typed = exchange.query().get("user_code", "")
    page = exchange.page
    if page is None or not await _is_still(exchange, page):
        following = f"{DEVICE}?{urlencode({'user_code': typed[:64]})}" if typed else DEVICE
        await pages.sign_in(exchange, following)
        return
    if not typed:
        await pages.type_code(exchange)
        return
    try:
        found = exchange.auth.waiting_device(page, typed, exchange.client)
    except BadCredentials as error:
        await pages.type_code(exchange, wrong=error.message, status=400)
        return
    fields = {"user_code": found.user_code, "form": page.form}
    await pages.consent(exchange, page.name, found.client.name, sorted(found.scopes), DEVICE, fields)


async def decide_device(exchange: Exchange) -> None:
    """Take the person's answer about a device."""
    _own_form_only(exchange)
    form = await exchange.form()
    page = _require_form(exchange.page, form)
    allow = form.get("decision") == "allow"
    try:
        await exchange.auth.decide_device(page, form.get("user_code", ""), allow=allow, address=exchange.client)
    except BadCredentials as error:
        await pages.type_code(exchange, wrong=error.message, status=400)
        return
    said = "The device goes on by itself." if allow else "The device was not let in."
    await pages.told(exchange, "Done", f"{said} You can close this page.")


async def password(exchange: Exchange) -> None:
    """Ask for the new password of whoever followed the link of a letter."""
    await pages.by_letter(exchange, "A new password", "/oauth/password", password=True)


async def set_password(exchange: Exchange) -> None:
    """Set it."""
    _own_form_only(exchange)
    form = await exchange.form()
    token = form.get("token", "")[:200]
    try:
        await exchange.auth.reset_password(token, form.get("new_password", ""), exchange.client)
    except BadInput as error:
        said = {"token": token, "wrong": error.message}
        await pages.by_letter(exchange, "A new password", "/oauth/password", password=True, status=400, **said)
        return
    await pages.told(exchange, "Done", "The new password counts. All sessions have ended: log in again.")


async def verify(exchange: Exchange) -> None:
    """Ask whoever followed the link of a letter whether the address is theirs; programs follow links too."""
    await pages.by_letter(exchange, "Your e-mail address", "/oauth/verify", password=False)


async def verified(exchange: Exchange) -> None:
    """Believe it."""
    _own_form_only(exchange)
    form = await exchange.form()
    await exchange.auth.verify_email(form.get("token", ""), exchange.client)
    await pages.told(exchange, "Done", "Letters reach this address.")


async def _asked(exchange: Exchange, fields: Mapping[str, str]) -> Asked | None:
    """What a program asks for; None: the browser was sent back with what is wrong."""
    try:
        return await exchange.auth.checked_request(dict(fields))
    except OAuthRefusal as error:
        await _back(
            exchange, fields["redirect_uri"], fields.get("state", ""), error=error.code, error_description=str(error)
        )
        return None


async def _back(exchange: Exchange, uri: str, state: str, **told: str) -> None:
    """Send the browser to a registered URI of the program (RFC 6749 section 4.1.2; ``iss`` is of RFC 9207)."""
    said = {**told, **({"state": state} if state else {}), "iss": exchange.base}
    joint = "&" if urlsplit(uri).query else "?"
    await redirect(exchange, f"{uri}{joint}{urlencode(said)}")


async def _is_still(exchange: Exchange, page: PageSession) -> bool:
    try:
        await exchange.auth.page_user(page)
    except Denied:
        return False
    return True


def _own_form_only(exchange: Exchange) -> None:
    if is_of_another_site(exchange.headers):
        raise Forbidden("The page of another site sent this form.")


def _require_form(page: PageSession | None, form: Mapping[str, str]) -> PageSession:
    """Who sits there, if the form is one that the hive gave them. Raises Forbidden."""
    if page is None or not hmac.compare_digest(page.form.encode(), form.get("form", "").encode()):
        raise Forbidden("This form is not of a page that the hive gave you, or it is too old: begin again.")
    return page
