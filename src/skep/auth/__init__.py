"""Users, groups, credentials, sessions, tokens: who asks, and what they may do."""

from skep.auth.access_keys import AccessGrant
from skep.auth.core import internal_principal
from skep.auth.hooks import DeletionHooks, UserHooks
from skep.auth.records import (
    AccessKeyInfo,
    AppPasswordInfo,
    CreatedAccessKey,
    CreatedAppPassword,
    CreatedInvite,
    GroupDetail,
    GroupInfo,
    InviteInfo,
    MemberInfo,
    Principal,
    SessionInfo,
    SshKeyInfo,
    TokenPair,
    UserInfo,
)
from skep.auth.rules import AuthRules
from skep.auth.scopes import ALL_SCOPES, FILE_SCOPES
from skep.auth.service import Auth, Maintained
from skep.auth.upkeep import AccountsWorker

__all__ = [
    "ALL_SCOPES",
    "FILE_SCOPES",
    "AccessGrant",
    "AccessKeyInfo",
    "AccountsWorker",
    "AppPasswordInfo",
    "Auth",
    "AuthRules",
    "CreatedAccessKey",
    "CreatedAppPassword",
    "CreatedInvite",
    "DeletionHooks",
    "GroupDetail",
    "GroupInfo",
    "InviteInfo",
    "Maintained",
    "MemberInfo",
    "Principal",
    "SessionInfo",
    "SshKeyInfo",
    "TokenPair",
    "UserHooks",
    "UserInfo",
    "internal_principal",
]
