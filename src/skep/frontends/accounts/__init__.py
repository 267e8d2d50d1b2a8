"""The door of anonymous tokens, as programs of MetaDisk know it: ``/accounts/token/…``."""
