"""The request of a Remote Desktop Gateway, octet for octet, as NPS passes it on."""

import struct

from radius_client import MESSAGE_AUTHENTICATOR, NAS, PROXY_STATE, USER_NAME, octets, sign

CALLED_STATION_ID, NAS_PORT_TYPE, VENDOR_SPECIFIC, CLASS, SESSION_TIMEOUT = 30, 61, 26, 25, 27
VIRTUAL, MICROSOFT = 5, 311
# [MS-RNAP] section 2.2.1
NETWORK_ACCESS_SERVER_TYPE, MACHINE_NAME, RDG_DEVICE_REDIRECTION = 47, 50, 63
TERMINAL_SERVER_GATEWAY = 1


def microsoft(kind: int, value: bytes) -> tuple[int, bytes]:
    return VENDOR_SPECIFIC, struct.pack("!IBB", MICROSOFT, kind, len(value) + 2) + value


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def gateway_attributes(user: str, machine: str) -> list[tuple[int, bytes]]:
    """No password, nothing of where the user is, nothing of who asks."""
    return [
        (USER_NAME, octets(user)),
        (CALLED_STATION_ID, b"UserAuthType:PW"),
        (NAS_PORT_TYPE, number(VIRTUAL)),
        microsoft(NETWORK_ACCESS_SERVER_TYPE, number(TERMINAL_SERVER_GATEWAY)),
        microsoft(MACHINE_NAME, octets(machine)),
    ]


class Gateway(NAS):
    """NPS beside a gateway. It puts Proxy-State on whatever it passes on, and Message-Authenticator last, if it is told to."""

    def request(self, user: str, *, machine: str = "PC17", message_authenticator: bool = True, more=()) -> bytes:
        listed = [*gateway_attributes(user, machine), *more]
        listed.append((PROXY_STATE, struct.pack("!QI", 0xFE80_0000_0000_0001, self.identifier + 1)))
        if not message_authenticator:
            return self.packet(listed, message_authenticator=False)
        packet = self.packet([*listed, (MESSAGE_AUTHENTICATOR, bytes(16))], message_authenticator=False)
        return sign(packet, len(packet) - 16, self.secret)
