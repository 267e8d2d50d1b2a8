"""slicegrid: which job lies on which server, when to rent one more and which to give back.

Usable alone: ``from skep.deploy.grid import SliceGrid``. The planner (``place``, ``room``, ``drain``, ``replan``) is
made of plain functions over a ``Layout``; ``SliceGrid`` is the small asynchronous shell around it that keeps its state
in a file and calls its owner's handlers.
"""

from skep.deploy.grid.options import Options
from skep.deploy.grid.preview import Step
from skep.deploy.grid.records import HERE, BlockFacts, Candidate, CreateOrder, Decision, Move, ServerType, Slice
from skep.deploy.grid.slicegrid import SliceGrid
from skep.deploy.stack.records import Size

__all__ = [
    "HERE",
    "BlockFacts",
    "Candidate",
    "CreateOrder",
    "Decision",
    "Move",
    "Options",
    "ServerType",
    "Size",
    "Slice",
    "SliceGrid",
    "Step",
]
