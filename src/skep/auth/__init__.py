"""Users, groups, credentials, sessions, tokens: who asks, and what they may do."""

from skep.auth.access_keys import AccessGrant
from skep.auth.audit import AuditEntry, AuditHead, Verified
from skep.auth.core import internal_principal
from skep.auth.factors import FactorInfo
from skep.auth.hooks import DeletionHooks, RoomHooks, UserHooks
from skep.auth.identity_providers import ClaimRules, ProviderInfo
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
from skep.auth.second_factor import Factors, NewTotp
from skep.auth.service import Auth, Maintained
from skep.auth.upkeep import AccountsWorker

__all__ = [
    "ALL_SCOPES",
    "FILE_SCOPES",
    "AccessGrant",
    "AccessKeyInfo",
    "AccountsWorker",
    "AppPasswordInfo",
    "AuditEntry",
    "AuditHead",
    "Auth",
    "AuthRules",
    "ClaimRules",
    "CreatedAccessKey",
    "CreatedAppPassword",
    "CreatedInvite",
    "DeletionHooks",
    "FactorInfo",
    "Factors",
    "GroupDetail",
    "GroupInfo",
    "InviteInfo",
    "Maintained",
    "MemberInfo",
    "NewTotp",
    "Principal",
    "ProviderInfo",
    "RoomHooks",
    "SessionInfo",
    "SshKeyInfo",
    "TokenPair",
    "UserHooks",
    "UserInfo",
    "Verified",
    "internal_principal",
]
