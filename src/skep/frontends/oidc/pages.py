"""The few pages that people see on their way through the door: sign in, allow, done. Plain HTML, one small script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from skep.base.chance import random_bytes
from skep.frontends.common.answers import send_bytes
from skep.frontends.oidc.exchange import Exchange

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem}"
    "body{color:#222;background:#fff}"
    "label{display:block;margin:.8rem 0}input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}"
    "button{font:inherit;padding:.4rem 1rem;margin:.4rem .4rem 0 0}.wrong{color:#a00}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}"
)
_TICKET = (
    "if(location.hash.startsWith('#login=')){const f=document.getElementById('by-ticket');"
    "f.ticket.value=location.hash.slice(7);history.replaceState(null,'',location.pathname+location.search);f.submit()}"
)
_SCOPES: Mapping[str, str] = {
    "openid": "know who you are",
    "profile": "know your name",
    "email": "know your e-mail address",
    "groups": "know your groups",
    "offline_access": "go on while you are away",
    "files:read": "read all your files",
    "files:write": "change and delete your files",
    "chunks:read": "read your chunks",
    "chunks:write": "store chunks for you",
    "account": "change your account: sessions, keys, app passwords",
    "admin": "do everything that you may as an administrator",
}


async def page(
    exchange: Exchange,
    title: str,
    body: str,
    *,
    status: int = 200,
    script: str = "",
    cookie: tuple[str, str] | None = None,
) -> None:
    """One page; no other site may frame it, and nothing is loaded from anywhere."""
    nonce = base64.b64encode(random_bytes(16)).decode()
    scripts = f'<script nonce="{nonce}">{script}</script>' if script else ""
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><style nonce="{nonce}">{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>{body}{scripts}</html>"
    )
    own = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; frame-ancestors 'none'"
    headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ]
    if cookie:
        headers.append(cookie)
    await send_bytes(exchange.send, status, text.encode(), headers, head_only=exchange.head_only)


def hidden(fields: Mapping[str, str]) -> str:
    """Fields of a form that nobody sees."""
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(text)}">' for name, text in fields.items()
    )


async def sign_in(exchange: Exchange, following: str, *, wrong: str = "", status: int = 200, name: str = "") -> None:
    """Ask who sits there; afterwards the browser goes on to a path of this door."""
    ways = await exchange.auth.list_providers()
    links = "".join(
        f'<p><a href="/api/auth/sso/{escape(way.name)}?next={escape(_quoted(following))}">'
        f"Sign in with {escape(way.name)}</a></p>"
        for way in ways
    )
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    body = (
        f'{said}<form method="post" action="/oauth/signin">{hidden({"next": following})}'
        "<label>Name or e-mail address"
        f'<input name="name" value="{escape(name)}" autocomplete="username" required></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" required></label>'
        "<label>Code of your authenticator app, if you have one"
        '<input name="code" autocomplete="one-time-code" inputmode="numeric"></label>'
        f"<button>Sign in</button></form>{links}"
        f'<form method="post" action="/oauth/signin" id="by-ticket">{hidden({"next": following, "ticket": ""})}</form>'
    )
    await page(exchange, "Sign in", body, status=status, script=_TICKET)


async def consent(
    exchange: Exchange, who: str, client: str, scopes: Sequence[str], action: str, fields: Mapping[str, str]
) -> None:
    """Ask whether a program may."""
    asked = "".join(f"<li>{escape(_SCOPES.get(scope, scope))}</li>" for scope in scopes)
    body = (
        f"<p>You are <b>{escape(who)}</b>. <b>{escape(client)}</b> asks to:</p><ul>{asked}</ul>"
        f'<form method="post" action="{action}">{hidden(fields)}'
        '<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button></form>'
        f'<form method="post" action="/oauth/signout">{hidden({"form": fields.get("form", "")})}'
        "<button>I am somebody else</button></form>"
    )
    await page(exchange, "Allow this?", body)


async def type_code(exchange: Exchange, *, wrong: str = "", status: int = 200) -> None:
    """Ask for the code that a device shows."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    body = (
        f'{said}<form method="get" action="/oauth/device"><label>The code that your device shows'
        '<input name="user_code" autocomplete="off" autocapitalize="characters" required></label>'
        "<button>Go on</button></form>"
    )
    await page(exchange, "Let a device in", body, status=status)


_FROM_LINK = (
    "const t=location.hash.startsWith('#token=')?location.hash.slice(7):'';"
    "document.querySelector('input[name=token]').value=t;"
    "history.replaceState(null,'',location.pathname)"
)


async def by_letter(
    exchange: Exchange, title: str, action: str, *, password: bool, token: str = "", wrong: str = "", status: int = 200
) -> None:
    """What the link of a letter opens. The token stands behind #, so that no server and no log sees it."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    asked = (
        '<label>New password<input name="new_password" type="password" autocomplete="new-password" required></label>'
        if password
        else "<p>Is this e-mail address yours?</p>"
    )
    body = f'{said}<form method="post" action="{action}">{hidden({"token": token})}{asked}'
    body += "<button>Yes, go on</button></form>"
    await page(exchange, title, body, status=status, script="" if token else _FROM_LINK)


async def told(
    exchange: Exchange, title: str, text: str, *, status: int = 200, cookie: tuple[str, str] | None = None
) -> None:
    """Say how it ended."""
    await page(exchange, title, f"<p>{escape(text)}</p>", status=status, cookie=cookie)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
