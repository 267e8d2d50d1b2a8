"""Accounts at cloud providers: the hive's app keys, the logins that grant access, and the grants themselves.

    clouds = Clouds(db, keys, clock, hive_id, settings_apps, in_use)
    await clouds.load()
    login = clouds.logins.begin("dropbox", user_id, redirect_base)
    ... the browser goes to login.url, grants, and comes back ...
    store = open_store("dropbox:" + account, grants=clouds.grants)

Drivers know none of this: they ask the ``Grants`` protocol of ``skep.stores.access`` for a token.
"""

from skep.clouds.apps import App, Apps
from skep.clouds.grants import CloudGrants, GrantInfo
from skep.clouds.logins import LoginInfo, Logins
from skep.clouds.service import Clouds

__all__ = ["App", "Apps", "CloudGrants", "Clouds", "GrantInfo", "LoginInfo", "Logins"]
