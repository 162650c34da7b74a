"""The tests' own RADIUS client against the examples of the RFCs."""

import pytest

from radius_client import NAS, hide, md5, sign

# RFC 2865 section 7.1: "nemo" with the password "arctangent" and the secret "xyzzy5461".
AUTHENTICATOR = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")
REQUEST = bytes.fromhex(
    "01000038" "0f403f9473978057bd83d5cb98f4227a" "01066e656d6f" "02120dbe708d93d413ce3196e43f782a0aee"
    "0406c0a80110" "050600000003"
)

def test_password_hiding_is_that_of_rfc_2865():
    assert hide(b"arctangent", AUTHENTICATOR, b"xyzzy5461") == REQUEST[28:44]

@pytest.mark.parametrize(("length", "hidden"), [(0, 16), (1, 16), (16, 16), (17, 32), (128, 128)])
def test_password_hiding_pads_to_blocks_of_16(length, hidden):
    assert len(hide(b"x" * length, AUTHENTICATOR, b"secret")) == hidden

def test_a_reply_without_message_authenticator_is_refused():
    # The Access-Accept of the same section: right authenticator, no Message-Authenticator.
    reply = bytes.fromhex("02000026" "86fe220e7624ba2a1005f6bf9b55e0b2" "060600000001" "0f0600000000" "0e06c0a80103")
    with pytest.raises(AssertionError, match="not one Message-Authenticator"):
        NAS(("127.0.0.1", 1), b"xyzzy5461").check(REQUEST, reply)

def test_a_reply_is_checked_in_both_authenticators():
    nas = NAS(("127.0.0.1", 1), b"secret")
    request = nas.packet(user="alice", password="pw")
    asked = sign(bytes([2, request[1], 0, 38]) + request[4:20] + bytes([80, 18]) + bytes(16), 22, b"secret")
    reply = asked[:4] + md5(asked + b"secret") + asked[20:]
    assert nas.check(request, reply).code == 2
    for at in range(len(reply)):
        broken = reply[:at] + bytes([reply[at] ^ 1]) + reply[at + 1 :]
        with pytest.raises(AssertionError):
            nas.check(request, broken)
    with pytest.raises(AssertionError):
        NAS(("127.0.0.1", 1), b"other").check(request, reply)
