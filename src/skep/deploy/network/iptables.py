"""The fence for hosts that have iptables alone: one `iptables-restore` transaction for each IP version.

Two chains of our own hold the rules; they are replaced whole, and a jump at the head of INPUT and FORWARD leads there.
The jumps are made once, after the chains are filled.
"""

from __future__ import annotations

from typing import Literal

from skep.deploy.network.fence import Fence, Member

INPUT_CHAIN, FORWARD_CHAIN = "SKEP-LOCKNET-IN", "SKEP-LOCKNET-FWD"
_BRIDGES = ("docker+", "br-+", "podman+", "cni+", "virbr+")


def restore_file(fence: Fence, member: Member, version: Literal[4, 6]) -> str:
    """What ``iptables-restore --noflush`` (4) or ``ip6tables-restore --noflush`` (6) takes on this member."""
    members = [f"-s {address} -j ACCEPT" for address in fence.addresses(version)]
    bridges = [f"-i {name} -j ACCEPT" for name in _BRIDGES]
    ports = member.public_ports
    public = [f"-p tcp --dport {port} -j ACCEPT" for port in ports]
    published = [f"-p tcp -m conntrack --ctstate DNAT --ctorigdstport {port} -j ACCEPT" for port in ports]
    own = (
        ["-p icmp -j ACCEPT", "-p udp --sport 67 --dport 68 -j ACCEPT"]
        if version == 4
        else ["-p ipv6-icmp -j ACCEPT", "-p udp --sport 547 --dport 546 -j ACCEPT"]
    )
    known = ["-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-m conntrack --ctstate INVALID -j DROP"]
    inbound = [*known, "-i lo -j ACCEPT", *members, *public, *own, *bridges, "-j DROP"]
    forward = [*known, *members, *bridges, *published, "-j DROP"]
    lines = [
        "*filter",
        f":{INPUT_CHAIN} - [0:0]",
        f":{FORWARD_CHAIN} - [0:0]",
        *(f"-A {INPUT_CHAIN} {rule}" for rule in inbound),
        *(f"-A {FORWARD_CHAIN} {rule}" for rule in forward),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"
