"""Images of a stack: made once for the same tree and recipe, and kept for as long as a release needs them."""

from skep.deploy.build.images import Images

__all__ = ["Images"]
