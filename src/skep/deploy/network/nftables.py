"""The fence as one nftables transaction: `nft -f` takes all of it or nothing, in place of what was there before.

Our table stands beside others and comes before them (priority -5), so what it drops nobody else can let in: rules that
a container engine adds do not open a port to the world. A packet to a published port reaches the forward chain with
another address and port; the connection's original port is what is judged.
"""

from __future__ import annotations

from skep.deploy.network.fence import Fence, Member

TABLE = "skep_locknet"
_BRIDGES = ("docker*", "br-*", "podman*", "cni*", "virbr*")


def ruleset(fence: Fence, member: Member) -> str:
    """The file for ``nft -f`` on this member. The same fence gives the same text."""
    members = [f"    ip saddr {_set(fence.addresses(4))} accept"] if fence.addresses(4) else []
    members += [f"    ip6 saddr {_set(fence.addresses(6))} accept"] if fence.addresses(6) else []
    ports = _set(tuple(map(str, member.public_ports)))
    bridges = [f'    iifname "{name}" accept' for name in _BRIDGES]
    lines = [
        f"table inet {TABLE} {{}}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        "  chain input {",
        "    type filter hook input priority -5; policy drop;",
        "    ct state established,related accept",
        "    ct state invalid drop",
        '    iifname "lo" accept',
        *members,
        f"    tcp dport {ports} accept",
        "    meta l4proto { icmp, ipv6-icmp } accept",
        "    udp sport 67 udp dport 68 accept",
        "    udp sport 547 udp dport 546 accept",
        *bridges,
        "  }",
        "  chain forward {",
        "    type filter hook forward priority -5; policy drop;",
        "    ct state established,related accept",
        "    ct state invalid drop",
        *members,
        *bridges,
        f"    ct status dnat meta l4proto tcp ct original proto-dst {ports} accept",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _set(elements: tuple[str, ...]) -> str:
    return "{ " + ", ".join(elements) + " }"
