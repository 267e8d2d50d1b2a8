"""Which passwords are refused, and why. The rules follow NIST SP 800-63B: length, not composition.

A password must have a minimum length and must not be the user's own name, e-mail address or full
name, all digits, or one of the words everybody tries, with or without digits at its end.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from skep.base.errors import BadInput

MAX_BYTES: Final = 1024

_COMMON_WORDS = """
password passw0rd p@ssw0rd p@ssword pa$$word passwort motdepasse contrasena contraseña senha parola haslo heslo
wachtwoord qwerty qwertyui qwertyuiop qwerty123 qwer1234 qwertz qwertzuiop azerty azertyuiop asdf asdfgh asdfghjk
asdfghjkl zxcvbn zxcvbnm 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qaz2wsx3edc q1w2e3r4 q1w2e3r4t5 qazwsx qazwsxedc zaq12wsx
zaq1zaq1 !qaz2wsx abc abcd abcdef abcdefg abcdefgh abcdefghi abc123 abcd1234 a1b2c3d4 aa123456 123abc 123qwe
1234qwer 123456a 12345a iloveyou ilovegod loveyou lovely letmein welcome welcome1 login admin administrator
administrateur root toor master superuser supervisor sysadmin user guest default changeme change secret test tester
testing temp temporary access monkey dragon shadow sunshine princess football baseball basketball superman batman
spiderman starwars pokemon trustno1 whatever freedom michael jennifer jordan jordan23 charlie michelle daniel
jessica ashley nicole hunter hunter2 ranger buster thomas robert soccer hockey killer george andrew charlotte
samantha computer internet server cookie summer winter autumn spring hello hello123 helloworld mustang corvette
ferrari mercedes porsche yamaha liverpool chelsea arsenal barcelona juventus cheese chocolate banana orange pepper
ginger flower butterfly rainbow purple silver golden diamond angel babygirl blink182 metallica nirvana slipknot
eminem pa55word passpass correcthorsebatterystaple opensesame nothing forever matrix phoenix samsung iphone google
facebook linkedin dropbox skep skepskep cloudstorage honeycomb beehive
"""
COMMON: Final = frozenset(_COMMON_WORDS.split())

_TAIL = re.compile(r"[\W\d_]+\Z")


def normalised(password: str) -> str:
    """The text that is hashed: NFC, so that every keyboard writes the same password."""
    return unicodedata.normalize("NFC", password)


def check_password(password: str, *, min_length: int, name: str, email: str = "", full_name: str = "") -> str:
    """The password ready to be hashed. Raises BadInput (never with the password in it) if a rule forbids it."""
    plain = normalised(password)
    if len(plain) < min_length:
        raise BadInput(f"the password is too short: use at least {min_length} characters", rule="length")
    if len(plain.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadInput(f"the password is too long: use at most {MAX_BYTES} bytes", rule="length")
    if plain.isdigit():
        raise BadInput("the password is all digits: add letters or words", rule="digits")
    if _folded(plain) & _own_words(name, email, full_name):
        raise BadInput("the password is the user's own name or e-mail address: choose another", rule="own-name")
    if _folded(plain) & COMMON or len(set(plain)) < 3:
        raise BadInput("the password is one that everybody tries first: choose another", rule="common")
    return plain


def _folded(plain: str) -> frozenset[str]:
    """The password as a guesser sees it: in one case, without the digits and signs at its end, and backwards."""
    whole = plain.casefold()
    stem = _TAIL.sub("", whole)
    return frozenset({whole, stem, whole[::-1], stem[::-1]}) - {""}


def _own_words(name: str, email: str, full_name: str) -> frozenset[str]:
    texts = [name, email, email.partition("@")[0], full_name, full_name.replace(" ", "")]
    return frozenset(text.casefold() for text in texts if text)
