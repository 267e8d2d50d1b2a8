"""The face for shares: giving access, seeing what was given, accepting and declining.

A share is a root: once its holder accepted it, its id stands wherever the id of a space may. Who may give one: the
owner of a personal space, the managers of a group's, and holders whose share says so, for as much as they may
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.auth.groups import role_in, the_group
from skep.auth.users import find_user, the_user
from skep.base.errors import (
    AlreadyExists,
    BadInput,
    Forbidden,
    GroupNotFound,
    NameClash,
    NodeNotFound,
    NotFound,
    ShareNotFound,
)
from skep.base.ids import Id, new_id
from skep.db import Transaction
from skep.events.records import ShareAnswered, ShareEnded, ShareGiven
from skep.filesystem import access, shares, spaces, tree, views
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.names import check_name
from skep.filesystem.records import HeldShare, Rights, ShareInfo, ShareKind
from skep.filesystem.share_names import free_name, plain_name
from skep.filesystem.shares import Held, Share
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal

RIGHTS: tuple[Rights, ...] = ("read", "write", "upload")


class Sharing(Core):
    """Who else may."""

    async def give_share(
        self,
        principal: Principal,
        node_id: Id,
        kind: ShareKind,
        whom: Id | str,
        rights: Rights,
        *,
        may_share: bool = False,
    ) -> tuple[ShareInfo, bool]:
        """Give a user or a group access to a node and all below it; giving it again changes the rights.

        Returns the share, and whether it is new. Raises NodeNotFound, UserNotFound, GroupNotFound (not one of the
        giver's own), Forbidden, BadInput (to oneself; a file to upload into; a group that may pass on), AlreadyExists
        (somebody else gave it), LimitReached.
        """
        principal.require(WRITE)
        _check_rights(kind, rights, may_share=may_share)

        def work(tx: Transaction) -> tuple[ShareInfo, bool]:
            space, parent = giver(tx, principal, node_id, rights)
            node = tree.node_by_id(tx, node_id)
            assert node is not None
            if rights == "upload" and not node.is_directory:
                raise BadInput("a file cannot be shared for uploading into it: share its directory")
            whom_id = _principal(tx, principal, kind, whom)
            _require_other(tx, principal, space, kind, whom_id)
            there = shares.to_one(tx, node_id, kind, whom_id)
            parent_id = None if parent is None else parent.id
            if there is not None:
                if parent_id is not None and there.parent_id != parent_id:
                    raise AlreadyExists("it is shared with them already, by somebody else: ask its owner")
                share = there._replace(rights=rights, may_share=int(may_share), parent_id=parent_id)
                share = share._replace(created_by=principal.user_id)
                self._change(tx, share)
            else:
                share = Share(
                    new_id(), space.id, node_id, kind, whom_id, rights, int(may_share), parent_id,
                    space.last_change, principal.user_id, tx.now_us,
                )  # fmt: skip
                shares.insert(
                    tx,
                    share,
                    on_node_max=self.limits.shares_of_node_max,
                    in_space_max=self.limits.shares_of_space_max,
                    to_one_max=self.limits.shares_of_one_max,
                )
            self._tell(tx, ShareGiven(at_us=tx.now_us, share_id=share.id, kind_of_holder=kind, holder_id=whom_id))
            return _share_info(tx, principal, share), there is None

        return await self._commit(work)

    async def shares_given(
        self, principal: Principal, space_id: Id | None = None, limit: int | None = None, after: Id = b""
    ) -> list[ShareInfo]:
        """What is shared of a space, in the order of their ids; of a share, what its holder passed on.

        Raises SpaceNotFound, Forbidden (a group's space, and not its manager).
        """
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[ShareInfo]:
            space = access.space(tx, principal, space_id, "read")
            if space.seen is None:
                access.require_owner(tx, principal, space, "see what is shared of its space")
                found = shares.of_space(tx, space.id, after, count)
            else:
                came = shares.passed_on(tx, [space.seen_id])
                found = sorted(share for share in came if share.id > after and share.kind != shares.LINK)[:count]
            return [_share_info(tx, principal, share) for share in found]

        return await self._db.read(work)

    async def shares_on(self, principal: Principal, node_id: Id) -> list[ShareInfo]:
        """Shares on a node and on what is above it, as far as the principal gave them or owns the space.

        Empty for those who may not know. Raises NodeNotFound.
        """
        principal.require(READ)

        def work(tx: Transaction) -> list[ShareInfo]:
            source = access.living(tx, principal, node_id, "read")
            found = shares.on_nodes(tx, (*source.above.chain, node_id))
            people = [share for share in found if share.kind != shares.LINK]
            return [_share_info(tx, principal, share) for share in people if may_change(tx, principal, share)]

        return await self._db.read(work)

    async def share(self, principal: Principal, share_id: Id) -> ShareInfo:
        """One share, for those who may change it. Raises ShareNotFound."""
        principal.require(READ)
        return await self._db.read(lambda tx: _share_info(tx, principal, _changeable(tx, principal, share_id)))

    async def change_share(
        self,
        principal: Principal,
        share_id: Id,
        rights: Rights | None = None,
        may_share: bool | None = None,
    ) -> ShareInfo:
        """Change what a share allows. What was passed on of it and is more than it now allows ends.

        Raises ShareNotFound, Forbidden, BadInput.
        """
        principal.require(WRITE)

        def work(tx: Transaction) -> ShareInfo:
            share = _changeable(tx, principal, share_id)
            wanted = share.rights if rights is None else rights
            passing = bool(share.may_share) if may_share is None else may_share
            _check_rights(share.kind, wanted, may_share=passing)  # type: ignore[arg-type]
            node = tree.node_by_id(tx, share.node_id)
            if wanted == "upload" and node is not None and not node.is_directory:
                raise BadInput("a file cannot be shared for uploading into it: share its directory")
            parent = None if share.parent_id is None else shares.by_id(tx, share.parent_id)
            if parent is not None and not shares.covers(parent.rights, wanted):
                raise Forbidden("a share that was passed on cannot allow more than the one it came from")
            share = share._replace(rights=wanted, may_share=int(passing))
            self._change(tx, share)
            return _share_info(tx, principal, share)

        return await self._commit(work)

    async def revoke_share(self, principal: Principal, share_id: Id) -> None:
        """Take a share back, and all that was passed on of it: its owner, or who gave it. Raises ShareNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            share = _changeable(tx, principal, share_id)
            shares.remove(tx, [share.id])
            self._doubt(tx, share)
            self._tell(tx, ShareEnded(at_us=tx.now_us, share_id=share.id))

        await self._commit(work)

    async def shares_held(self, principal: Principal, limit: int | None = None, after: Id = b"") -> list[HeldShare]:
        """What was shared with the principal or their groups, whatever they made of it, in the order of ids."""
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[HeldShare]:
            found: list[HeldShare] = []
            last = after
            while len(found) < count and (page := shares.held(tx, principal, last, count)):
                found += [one for held in page if (one := _held_share(tx, held)) is not None]
                last = page[-1].share.id
            return found[:count]

        return await self._db.read(work)

    async def share_held(self, principal: Principal, share_id: Id) -> HeldShare:
        """One share that the principal or a group of theirs holds. Raises ShareNotFound."""
        principal.require(READ)

        def work(tx: Transaction) -> HeldShare:
            return _the_held(tx, principal, share_id)[1]

        return await self._db.read(work)

    async def answer_share(
        self, principal: Principal, share_id: Id, *, accept: bool | None = None, name: str | None = None
    ) -> HeldShare:
        """Accept or decline a share, or give its root another name; of a group's share each member for themself.

        Declining ends what was passed on of it. Raises ShareNotFound, NameClash, InvalidName.
        """
        principal.require(WRITE)
        if name is not None:
            check_name(name)

        def work(tx: Transaction) -> HeldShare:
            held, now = _the_held(tx, principal, share_id)
            state = now.state if accept is None else ("accepted" if accept else "declined")
            if state == "pending":
                raise BadInput("accept the share before you name it, or both at once")
            new_name = self._name(tx, principal, held, name)
            shares.answer(tx, share_id, principal.user_id, state, new_name)
            self._doubt(tx, held.share)
            if state == "declined" and held.share.kind == "user":
                shares.remove(tx, [share.id for share in shares.passed_on(tx, [share_id])])
            if state != held.state:
                user_id, accepted = principal.user_id, state == "accepted"
                self._tell(tx, ShareAnswered(at_us=tx.now_us, share_id=share_id, user_id=user_id, accepted=accepted))
            return _the_held(tx, principal, share_id)[1]

        return await self._commit(work)

    def _name(self, tx: Transaction, principal: Principal, held: Held, wanted: str | None) -> str:
        """The name for a share's root: the wanted one, else its own or a free one. Raises NameClash."""
        if wanted is None and held.name:
            return held.name
        others = access.visible(tx, principal, self.limits.page_max)
        taken = {access.name_of(one).casefold() for one in others if one.seen_id != held.share.id}
        if wanted is None:
            return free_name(tx, held.share, taken)
        if wanted.casefold() in taken:
            raise NameClash(f"you have a space or share called {wanted!r} already: give another name")
        return wanted

    def _change(self, tx: Transaction, share: Share) -> None:
        """Write a share's rights; end what was passed on of it that it does not carry any more."""
        shares.change(tx, share)
        self._doubt(tx, share)
        came = shares.passed_on(tx, [share.id])
        shares.remove(
            tx, [one.id for one in came if not share.may_share or not shares.covers(share.rights, one.rights)]
        )

    def _doubt(self, tx: Transaction, share: Share) -> None:
        """Have live streams look again at what they may see of the space."""
        tx.after_commit(lambda: self.books.log.hub.doubt(share.space_id))

    def _tell(self, tx: Transaction, event: ShareGiven | ShareAnswered | ShareEnded) -> None:
        tx.after_commit(lambda: self.books.log.hub.emit(event))


def _check_rights(kind: ShareKind, rights: Rights, *, may_share: bool) -> None:
    if kind not in ("user", "group"):
        raise BadInput(f"{str(kind)[:40]!r} cannot hold a share: a user or a group can")
    if rights not in RIGHTS:
        raise BadInput(f"{str(rights)[:40]!r} are no rights of a share: give {', '.join(RIGHTS)}")
    if may_share and kind == "group":
        raise BadInput("a share of a group cannot be passed on by its members: share with users who may")


def giver(tx: Transaction, principal: Principal, node_id: Id, rights: Rights) -> tuple[Space, Share | None]:
    """The space of a node, and the share by which the principal may pass it on (None: as owner).

    Raises NodeNotFound, Forbidden.
    """
    source = access.living(tx, principal, node_id, "read")
    if source.space.seen is None:
        access.require_owner(tx, principal, source.space, "share what is in its space")
        return source.space, None
    reaching = shares.reaching(tx, principal, (*source.above.chain, node_id))
    passing = [held.share for held in reaching if held.share.may_share and held.share.kind == "user"]
    if not passing:
        raise Forbidden("this was shared with you, but not to pass on: ask its owner to share it")
    for share in passing:
        if shares.covers(share.rights, rights):
            if _hands(tx, share) >= shares.PASSED_ON_MAX:
                raise Forbidden(f"a share is passed on at most {shares.PASSED_ON_MAX} times: ask its owner")
            return source.space, share
    raise Forbidden(f"you may only pass on what you may yourself: {passing[0].rights}")


def _hands(tx: Transaction, share: Share) -> int:
    """How many hands a share went through."""
    hands, at = 1, share.parent_id
    while at is not None and hands <= shares.PASSED_ON_MAX:
        parent = shares.by_id(tx, at)
        hands, at = hands + 1, None if parent is None else parent.parent_id
    return hands


def _principal(tx: Transaction, principal: Principal, kind: ShareKind, whom: Id | str) -> Id:
    """The user or group that is meant. Raises UserNotFound, GroupNotFound."""
    if kind == "user":
        return the_user(tx, whom).info.id
    group = the_group(tx, whom)
    if group.id not in principal.groups and not principal.acts_as_admin:
        raise GroupNotFound("no such group: you can share with groups that you are in")
    return group.id


def _require_other(tx: Transaction, principal: Principal, space: Space, kind: ShareKind, whom: Id) -> None:
    """Raise BadInput for a share with whom it belongs to already."""
    if whom == principal.user_id:
        raise BadInput("you cannot share with yourself: you may use it already")
    if whom == space.owner_id:
        raise BadInput(f"it belongs to this {kind} already")
    if kind == "user" and space.kind == "group" and role_in(tx, space.owner_id, whom) is not None:
        raise BadInput("this user is in the group that it belongs to already")


def may_change(tx: Transaction, principal: Principal, share: Share) -> bool:
    """Whether a principal owns the space of a share, or gave it by a share that they still hold."""
    space = spaces.by_id(tx, share.space_id)
    if space is not None and spaces.may_use(principal, space):
        return space.kind == "personal" or role_in(tx, space.owner_id, principal.user_id) == "manager"
    if share.parent_id is None or share.created_by != principal.user_id:
        return False
    held = shares.held_one(tx, principal, share.parent_id)
    return held is not None and held.state == "accepted"


def _changeable(tx: Transaction, principal: Principal, share_id: Id) -> Share:
    share = shares.by_id(tx, share_id)
    if share is None or share.kind == shares.LINK or not may_change(tx, principal, share):
        raise _no_share()
    return share


def _no_share() -> ShareNotFound:
    return ShareNotFound("no such share: it was taken back, or it is not yours")


def _share_info(tx: Transaction, principal: Principal, share: Share) -> ShareInfo:
    """A share as its giver sees it, with the path from where the giver looks."""
    path, seen_id = None, share.space_id
    try:
        source = access.living(tx, principal, share.node_id, "read")
        path, seen_id = source.path, source.space.seen_id
    except NodeNotFound:
        if share.parent_id is not None:
            seen_id = share.parent_id
    state = None
    if share.kind == "user":
        state = shares.states(tx, [share.id]).get((share.id, share.principal_id), "pending")
    return ShareInfo(
        id=share.id,
        space_id=seen_id,
        node_id=share.node_id,
        path=path,
        kind=share.kind,  # type: ignore[arg-type]
        principal_id=share.principal_id,
        principal_name=_name_of_principal(tx, share),
        rights=share.rights,
        may_share=bool(share.may_share),
        state=state,  # type: ignore[arg-type]
        created_by=share.created_by,
        created_us=share.created_us,
    )


def _name_of_principal(tx: Transaction, share: Share) -> str:
    try:
        if share.kind == "group":
            return the_group(tx, share.principal_id).name
        user = find_user(tx, share.principal_id)
        return "" if user is None else user.info.name
    except NotFound:
        return ""


def _the_held(tx: Transaction, principal: Principal, share_id: Id) -> tuple[Held, HeldShare]:
    held = shares.held_one(tx, principal, share_id)
    shown = None if held is None else _held_share(tx, held)
    if held is None or shown is None:
        raise _no_share()
    return held, shown


def _held_share(tx: Transaction, held: Held) -> HeldShare | None:
    """A share as its holder sees it; None while what is shared is in the trash."""
    share = held.share
    space = spaces.by_id(tx, share.space_id)
    node = tree.node_by_id(tx, share.node_id)
    if space is None or node is None:
        return None
    try:
        seen = views.through(tx, space, held)
    except NotFound:
        return None
    if not shares.is_founded(tx, share, seen.base):
        return None
    return HeldShare(
        id=share.id,
        name=held.name or plain_name(node, space),
        node_id=node.id,
        node_kind=node.kind,  # type: ignore[arg-type]
        rights=share.rights,
        may_share=bool(share.may_share),
        state=held.state,  # type: ignore[arg-type]
        owner=space.name,
        given_by=share.created_by,
        group_id=share.principal_id if share.kind == "group" else None,
        created_us=share.created_us,
    )
