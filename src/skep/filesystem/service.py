"""The file service: every call says who asks, and does its database work in one hop to a thread.

Privacy: what is not a principal's own, or their groups', and not shared with them, does not exist for them
(SpaceNotFound, NodeNotFound); what they can see but may not change is Forbidden. ``space_id`` None is the principal's
own space; the id of a share that they accepted stands for a space whose root is the shared node.
"""

from __future__ import annotations

from skep.filesystem.choosing import Choosing
from skep.filesystem.describing import Describing
from skep.filesystem.keeping import Keeping
from skep.filesystem.linking import Linking
from skep.filesystem.locking import Locking
from skep.filesystem.prefixing import Prefixing
from skep.filesystem.rearranging import Rearranging
from skep.filesystem.sharing import Sharing
from skep.filesystem.tagging import Tagging
from skep.filesystem.uploads.appending import Appending
from skep.filesystem.uploads.partwise import Partwise


class Filesystem(
    Prefixing, Locking, Appending, Partwise, Rearranging, Keeping, Tagging, Sharing, Linking, Describing, Choosing
):
    """Spaces, files and directories over the chunk service. Lives on one event loop.

    The calls are sorted by what they are for: ``Looking``, ``Uploading``, ``Locking``, ``Appending`` and ``Partwise``
    (uploads that come in pieces), ``Rearranging``, ``Keeping``, ``Tagging``, ``Sharing``, ``Linking``, ``Keying``,
    ``Prefixing``, ``Describing``, ``Choosing``.
    """
