"""Hosts that may be called: a user who can edit sources must not make the service call any other, nor may a setting."""

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_NAME = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.*_-]*[A-Za-z0-9*])?")


class AllowedHosts:
    """`text`: names (`*` matches any part), addresses and networks, separated by commas; empty allows all.

    Raises ValueError, which names the entry, for anything else.
    """

    def __init__(self, text: str) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._names: list[str] = []
        for entry in (part.strip() for part in text.split(",") if part.strip()):
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                if not _NAME.fullmatch(entry):
                    raise ValueError(f"'{entry}' is neither a host name, an address nor a network") from None
                self._names.append(entry.lower())
        if text and not self._names and not self._networks:
            # A mistake (`${A},${B}` of which neither is set) must not allow every host.
            raise ValueError("has no entry; unset it to allow every host")

    def allow(self, host: str, address: str | None) -> bool:
        """Whether `host`, whose address is `address`, may be called.

        An allowed name may have any address; any other name must have one in an allowed network.
        """
        if not self._names and not self._networks:
            return True
        # A directory of Unix sockets; none, or "@": libpq chooses one. No network and no name stands for these.
        if not host or host[0] in "/@":
            return False
        # libpq accepts a list of hosts: "good,bad" would match "*bad" as one name.
        if "," in host:
            return all(self.allow(part, None) for part in host.split(","))
        if any(fnmatchcase(host.lower(), name) for name in self._names):
            return True
        try:
            place = ip_address(address or host)
        except ValueError:
            return False
        return any(place in network for network in self._networks)
