"""The cloud providers whose accounts can be stores: where they are, and what they want at a login.

Every URL is the provider's own as its public documentation gives it. ``at`` moves all of them to one server, for the
doubles of the tests and for gateways: ``https://api.dropboxapi.com/2`` becomes ``<base>/api.dropboxapi.com/2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from skep.base.errors import NotFound


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider."""

    name: str
    """As in URLs and commands: ``dropbox``."""
    title: str
    authorize_url: str
    token_url: str
    revoke_url: str | None
    """None: tokens are withdrawn on the provider's page alone."""
    api_url: str
    content_url: str
    scopes: tuple[str, ...]
    extra: Mapping[str, str]
    """Further parameters of the authorization URL."""
    console_url: str
    """Where an app is registered."""

    def at(self, base_url: str | None) -> Provider:
        """The same behind another server, or itself for None."""
        if not base_url:
            return self

        def moved(url: str) -> str:
            return f"{base_url.rstrip('/')}/{url.removeprefix('https://')}"

        return replace(
            self,
            authorize_url=moved(self.authorize_url),
            token_url=moved(self.token_url),
            revoke_url=None if self.revoke_url is None else moved(self.revoke_url),
            api_url=moved(self.api_url),
            content_url=moved(self.content_url),
        )


_ALL = (
    # https://www.dropbox.com/developers/documentation/http/documentation, developers.dropbox.com/oauth-guide
    Provider(
        "dropbox",
        "Dropbox",
        "https://www.dropbox.com/oauth2/authorize",
        "https://api.dropboxapi.com/oauth2/token",
        "https://api.dropboxapi.com/2/auth/token/revoke",
        "https://api.dropboxapi.com/2",
        "https://content.dropboxapi.com/2",
        ("account_info.read", "files.metadata.read", "files.content.read", "files.content.write"),
        MappingProxyType({"token_access_type": "offline"}),
        "https://www.dropbox.com/developers/apps",
    ),
    # https://developers.google.com/drive/api/reference/rest/v3, .../identity/protocols/oauth2/web-server
    Provider(
        "gdrive",
        "Google Drive",
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com/revoke",
        "https://www.googleapis.com/drive/v3",
        "https://www.googleapis.com/upload/drive/v3",
        ("https://www.googleapis.com/auth/drive.file",),
        MappingProxyType({"access_type": "offline", "prompt": "consent"}),
        "https://console.cloud.google.com/apis/credentials",
    ),
    # https://learn.microsoft.com/graph/onedrive-concept-overview, .../entra/identity-platform/v2-oauth2-auth-code-flow
    Provider(
        "onedrive",
        "OneDrive",
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        None,
        "https://graph.microsoft.com/v1.0",
        "https://graph.microsoft.com/v1.0",
        ("Files.ReadWrite", "User.Read", "offline_access"),
        MappingProxyType({"response_mode": "query"}),
        "https://entra.microsoft.com/",
    ),
    # https://developer.box.com/reference/, .../guides/authentication/oauth2/
    Provider(
        "box",
        "Box",
        "https://account.box.com/api/oauth2/authorize",
        "https://api.box.com/oauth2/token",
        "https://api.box.com/oauth2/revoke",
        "https://api.box.com/2.0",
        "https://upload.box.com/api/2.0",
        ("root_readwrite",),
        MappingProxyType({}),
        "https://app.box.com/developers/console",
    ),
)
PROVIDERS: Mapping[str, Provider] = MappingProxyType({provider.name: provider for provider in _ALL})


def provider_of(name: str) -> Provider:
    """The provider of that name, in any case. Raises NotFound that lists them."""
    found = PROVIDERS.get(name.lower())
    if found is None:
        raise NotFound(f"there is no cloud provider {name[:40]!r}: known are {', '.join(PROVIDERS)}")
    return found
