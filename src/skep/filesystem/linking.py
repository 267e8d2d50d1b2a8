"""The face for links: shares that whoever knows an address holds, without an account.

A link is a share of kind ``link``: its row in ``shares`` says what it is on and what it allows, so its holder - a
principal that has the link's id for a user's - passes ``access`` like everybody, and finds a space under that same id.
Here is what a link has beside that: its address, a password, an end, and how much may go out and come in.
"""

from __future__ import annotations

from skep.auth.opaque_tokens import is_link_token, new_link_token, secret_hash
from skep.auth.records import Principal
from skep.base.errors import BadInput, BodyTooLarge, Forbidden, LimitReached, NodeNotFound, ShareNotFound, SpaceNotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction
from skep.events.records import LinkChanged, LinkEnded, LinkMade
from skep.filesystem import access, links, shares, tree
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.links import Link, Named
from skep.filesystem.names import check_name
from skep.filesystem.ports import Noting
from skep.filesystem.records import LinkChange, LinkInfo, LinkRules, OpenLink, Rights
from skep.filesystem.shares import LINK, Share
from skep.filesystem.sharing import giver, may_change

NAMELESS = "Files"
"""What a link on a whole space is called: the space has its owner's name, which is nobody's business."""
GONE = (
    "this link does not work: it was taken back, it has expired, or its address is not complete. "
    "Ask whoever gave it to you for another"
)


class Linking(Core):
    """Who else may, without being anybody."""

    note: Noting | None = None
    """Keeps in the audit log who made, changed and removed links; the server plugs it in."""

    async def make_link(
        self, principal: Principal, node_id: Id, rights: Rights, rules: LinkRules
    ) -> tuple[LinkInfo, str]:
        """Make a link on a node and all below it; the link, and its token, which is kept nowhere.

        Who may share a node may make a link on it. Raises NodeNotFound, Forbidden, BadInput (uploading into a
        file; an end that has passed), InvalidName, LimitReached.
        """
        principal.require(WRITE)
        self._require_links()
        if rights not in ("read", "upload"):
            raise BadInput(f"a link is for reading or for uploading, not for {str(rights)[:40]!r}")
        _check(rules.name, rules.expires_us, self._clock.now_us())
        token = new_link_token()

        def work(tx: Transaction) -> LinkInfo:
            space, parent = giver(tx, principal, node_id, rights)
            node = tree.node_by_id(tx, node_id)
            assert node is not None
            if rights == "upload" and not node.is_directory:
                raise BadInput("a link on a file cannot be for uploading into it: make one on its directory")
            link_id = new_id()
            parent_id = None if parent is None else parent.id
            share = Share(link_id, space.id, node_id, LINK, link_id, rights, 0, parent_id,
                          space.last_change, principal.user_id, tx.now_us)  # fmt: skip
            link = Link(link_id, secret_hash(token), rules.password_hash, rules.expires_us, rules.downloads_max, 0,
                        rules.file_bytes_max, rules.bytes_max, 0, principal.user_id, tx.now_us, None)  # fmt: skip
            made = Named(link, share, rules.name or node.name or NAMELESS)
            links.insert(
                tx,
                made,
                on_node_max=self.limits.shares_of_node_max,
                in_space_max=self.limits.shares_of_space_max,
                of_one_max=self.limits.links_of_one_max,
            )
            self._audit(tx, "link-made", principal, made)
            tx.after_commit(lambda: self.books.log.hub.emit(LinkMade(at_us=tx.now_us, link_id=link_id, rights=rights)))
            return _link_info(tx, principal, made)

        return await self._commit(work), token

    async def links_made(self, principal: Principal, limit: int | None = None, after: Id = b"") -> list[LinkInfo]:
        """The links that the principal made, ended ones too, in the order of their ids."""
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[LinkInfo]:
            found = links.made_by(tx, principal.user_id, after, count)
            return [_link_info(tx, principal, one) for one in found]

        return await self._db.read(work)

    async def links_of_space(
        self, principal: Principal, space_id: Id | None, limit: int | None = None, after: Id = b""
    ) -> list[LinkInfo]:
        """All links of a space, for its owner and the managers of its group. Raises SpaceNotFound, Forbidden."""
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[LinkInfo]:
            space = access.owned(access.space(tx, principal, space_id, "read"), "see all links on it")
            access.require_owner(tx, principal, space, "see the links of its space")
            return [_link_info(tx, principal, one) for one in links.of_space(tx, space.id, after, count)]

        return await self._db.read(work)

    async def links_on(self, principal: Principal, node_id: Id) -> list[LinkInfo]:
        """Links on a node, as far as the principal made them or owns the space. Raises NodeNotFound."""
        principal.require(READ)

        def work(tx: Transaction) -> list[LinkInfo]:
            access.living(tx, principal, node_id, "read")
            found = links.on_nodes(tx, [node_id])
            return [_link_info(tx, principal, one) for one in found if may_change(tx, principal, one.share)]

        return await self._db.read(work)

    async def link(self, principal: Principal, link_id: Id) -> LinkInfo:
        """One link, for those who may change it. Raises ShareNotFound."""
        principal.require(READ)
        return await self._db.read(lambda tx: _link_info(tx, principal, _changeable(tx, principal, link_id)))

    async def change_link(
        self, principal: Principal, link_id: Id, changes: LinkChange, *, renew: bool = False
    ) -> tuple[LinkInfo, str | None]:
        """Change a link; with ``renew`` it gets another address, its token is returned, and the old one ends.

        Raises ShareNotFound, BadInput, InvalidName.
        """
        principal.require(WRITE)
        wanted = changes.given()
        _check(wanted.get("name"), wanted.get("expires_us"), self._clock.now_us())
        token = new_link_token() if renew else None

        def work(tx: Transaction) -> LinkInfo:
            there = _changeable(tx, principal, link_id)
            fields = {field: value for field, value in wanted.items() if field != "name"}
            if token is not None:
                fields["token_hash"] = secret_hash(token)
            now = there._replace(link=there.link._replace(**fields), name=wanted.get("name") or there.name)
            links.change(tx, now.link)
            if now.name != there.name:
                shares.answer(tx, link_id, link_id, "accepted", now.name)
            self._audit(tx, "link-changed", principal, now, changed=sorted([*wanted, *(["address"] if renew else [])]))
            tx.after_commit(lambda: self.books.log.hub.emit(LinkChanged(at_us=tx.now_us, link_id=link_id)))
            return _link_info(tx, principal, now)

        return await self._commit(work), token

    async def end_link(self, principal: Principal, link_id: Id) -> None:
        """Take a link back: who made it, or owns what it is on. Raises ShareNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            there = _changeable(tx, principal, link_id)
            shares.remove(tx, [link_id])
            self._audit(tx, "link-ended", principal, there)
            tx.after_commit(lambda: self.books.log.hub.doubt(there.share.space_id))
            tx.after_commit(lambda: self.books.log.hub.emit(LinkEnded(at_us=tx.now_us, link_id=link_id)))

        await self._commit(work)

    async def open_link(self, token: str) -> tuple[OpenLink, Principal]:
        """The link of an address, and who holds it: not before it was asked for a password, if there is one.

        Raises ShareNotFound, always with the same words: there never was such a link, it ended, or what it is
        on is not there.
        """
        if not self.limits.links or not is_link_token(token):
            raise _no_link()
        wanted = secret_hash(token)

        def work(tx: Transaction) -> tuple[OpenLink, Principal]:
            found = links.by_token(tx, wanted)
            if found is None:
                raise _no_link()
            holder = _holder(found)
            try:
                access.space(tx, holder, found.link.id, None)
            except SpaceNotFound:  # in the trash, or what it was passed on from has ended
                raise _no_link() from None
            return _open(found), holder

        return await self._db.glance(work)

    async def count_download(self, link_id: Id) -> None:
        """Take one of the downloads of a link. Raises LimitReached: none is left."""
        if not await self._commit(lambda tx: links.count_download(tx, link_id)):
            raise LimitReached("this link was for a number of downloads, and they are used up", reason="link-used-up")

    async def take_link_room(self, link: OpenLink, size_bytes: int | None) -> int:
        """Take room for a file that is added through a link; how much, to give back if it does not come.

        ``size_bytes`` None: not known. Raises BadInput (a limit needs to know), BodyTooLarge, LimitReached.
        """
        if size_bytes is None:
            if link.file_bytes_max is None and link.bytes_left is None:
                return 0
            raise BadInput("this link takes files up to a size: say how long the file is before it comes")
        if link.file_bytes_max is not None and size_bytes > link.file_bytes_max:
            raise BodyTooLarge(
                f"this link takes files of at most {link.file_bytes_max} bytes, not {size_bytes}",
                limit=link.file_bytes_max,
                reason="link-file",
            )
        if not await self._commit(lambda tx: links.count_bytes(tx, link.id, size_bytes)):
            raise LimitReached("there is no room for this file in what the link may take", reason="link-full")
        return size_bytes

    async def give_link_room_back(self, link_id: Id, size_bytes: int) -> None:
        """Return what ``take_link_room`` took."""
        if size_bytes:
            await self._commit(lambda tx: links.give_bytes_back(tx, link_id, size_bytes))

    def _require_links(self) -> None:
        if not self.limits.links:
            raise Forbidden("this hive makes no links that work without an account: share with its users")

    def _audit(self, tx: Transaction, action: str, principal: Principal, one: Named, **facts: object) -> None:
        if self.note is not None:
            self.note(tx, action, principal, one.link.id, one.name, rights=one.share.rights, **facts)


def _check(name: str | None, expires_us: int | None, now_us: int) -> None:
    if name:
        check_name(name)
    if expires_us is not None and expires_us <= now_us:
        raise BadInput("the link would have expired already: give a time that is to come, or none")


def _no_link() -> ShareNotFound:
    return ShareNotFound(GONE, reason="link-gone")


def _changeable(tx: Transaction, principal: Principal, link_id: Id) -> Named:
    found = links.by_id(tx, link_id)
    if found is None or not may_change(tx, principal, found.share):
        raise ShareNotFound("no such link: it was removed, or it is not yours")
    return found


def _holder(one: Named) -> Principal:
    """Whoever opens a link: a principal of the link's own, who can reach what it is on and nothing else."""
    scopes = frozenset({READ, WRITE}) if one.share.rights == "upload" else frozenset({READ})
    return Principal(one.link.id, one.name, False, frozenset(), scopes, "link")


def _open(one: Named) -> OpenLink:
    link = one.link
    return OpenLink(
        id=link.id,
        name=one.name,
        rights=one.share.rights,
        password_hash=link.password_hash,
        expires_us=link.expires_us,
        downloads_left=None if link.downloads_max is None else max(0, link.downloads_max - link.downloads),
        file_bytes_max=link.file_bytes_max,
        bytes_left=None if link.bytes_max is None else max(0, link.bytes_max - link.received_bytes),
    )


def _link_info(tx: Transaction, principal: Principal, one: Named) -> LinkInfo:
    """A link as its maker sees it, with the path from where the maker looks."""
    link, share = one.link, one.share
    path, seen_id = None, share.parent_id or share.space_id
    try:
        source = access.living(tx, principal, share.node_id, "read")
        path, seen_id = source.path, source.space.seen_id
    except NodeNotFound:
        pass
    return LinkInfo(
        id=link.id,
        space_id=seen_id,
        node_id=share.node_id,
        path=path,
        name=one.name,
        rights=share.rights,
        has_password=link.password_hash is not None,
        expires_us=link.expires_us,
        downloads_max=link.downloads_max,
        downloads=link.downloads,
        file_bytes_max=link.file_bytes_max,
        bytes_max=link.bytes_max,
        received_bytes=link.received_bytes,
        created_by=link.created_by,
        created_us=link.created_us,
        last_used_us=link.last_used_us,
    )
