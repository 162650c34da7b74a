//! The attributes of the RFCs. What may stand in an Access-Accept, and how often, is what the table of attributes of each
//! RFC says (RFC 2865 section 5.44 and its like).

use super::{
    Definition,
    Form::{Integer, InterfaceId, Ipv4, Ipv6, Ipv6Prefix, Number, Octets, Text},
    Place::{Elsewhere, Once, Secret, Several},
    rfc, tagged,
};

const REQUEST: super::Place = Elsewhere("it stands in requests");
const ACCOUNTING: super::Place = Elsewhere("it stands in accounting packets");
const CREDENTIAL: super::Place = Secret("it carries a credential, in requests");
const WHO: super::Place = Elsewhere("it says who the user is, which a policy cannot know");
const PACKET: super::Place = Elsewhere("the server itself writes it into each packet");
const ARAP: super::Place = Secret("it belongs to an exchange that is not served here");

const ANY: super::Form = Number(0, u32::MAX);
const PORT: super::Form = Number(0, 65535);

pub(super) static ATTRIBUTES: &[Definition] = &[
    rfc("User-Name", 1, Text, WHO, "RFC 2865 section 5.1"),
    rfc("User-Password", 2, Octets, CREDENTIAL, "RFC 2865 section 5.2"),
    rfc("CHAP-Password", 3, Octets, CREDENTIAL, "RFC 2865 section 5.3"),
    rfc("NAS-IP-Address", 4, Ipv4, REQUEST, "RFC 2865 section 5.4"),
    rfc("NAS-Port", 5, ANY, REQUEST, "RFC 2865 section 5.5"),
    rfc("Service-Type", 6, Integer(SERVICE_TYPE), Once, "RFC 2865 section 5.6"),
    rfc("Framed-Protocol", 7, Integer(FRAMED_PROTOCOL), Once, "RFC 2865 section 5.7"),
    rfc("Framed-IP-Address", 8, Ipv4, Once, "RFC 2865 section 5.8"),
    rfc("Framed-IP-Netmask", 9, Ipv4, Once, "RFC 2865 section 5.9"),
    rfc("Framed-Routing", 10, Integer(FRAMED_ROUTING), Once, "RFC 2865 section 5.10"),
    rfc("Filter-Id", 11, Text, Several, "RFC 2865 section 5.11"),
    rfc("Framed-MTU", 12, Number(64, 65535), Once, "RFC 2865 section 5.12"),
    rfc("Framed-Compression", 13, Integer(FRAMED_COMPRESSION), Several, "RFC 2865 section 5.13"),
    rfc("Login-IP-Host", 14, Ipv4, Several, "RFC 2865 section 5.14"),
    rfc("Login-Service", 15, Integer(LOGIN_SERVICE), Once, "RFC 2865 section 5.15"),
    rfc("Login-TCP-Port", 16, PORT, Once, "RFC 2865 section 5.16"),
    rfc("Reply-Message", 18, Text, Several, "RFC 2865 section 5.18"),
    rfc("Callback-Number", 19, Octets, Once, "RFC 2865 section 5.19"),
    rfc("Callback-Id", 20, Octets, Once, "RFC 2865 section 5.20"),
    rfc("Framed-Route", 22, Text, Several, "RFC 2865 section 5.22"),
    rfc("Framed-IPX-Network", 23, ANY, Once, "RFC 2865 section 5.23"),
    rfc("State", 24, Octets, Secret("the server itself writes it, bound to one login"), "RFC 2865 section 5.24"),
    rfc("Class", 25, Octets, Several, "RFC 2865 section 5.25"),
    rfc(
        "Vendor-Specific",
        26,
        Octets,
        Elsewhere("write the vendor's attribute by its name, or as 26.VENDOR.TYPE = 0x…"),
        "RFC 2865 section 5.26",
    ),
    rfc("Session-Timeout", 27, ANY, Once, "RFC 2865 section 5.27"),
    rfc("Idle-Timeout", 28, ANY, Once, "RFC 2865 section 5.28"),
    rfc("Termination-Action", 29, Integer(TERMINATION_ACTION), Once, "RFC 2865 section 5.29"),
    rfc("Called-Station-Id", 30, Octets, REQUEST, "RFC 2865 section 5.30"),
    rfc("Calling-Station-Id", 31, Octets, REQUEST, "RFC 2865 section 5.31"),
    rfc("NAS-Identifier", 32, Octets, REQUEST, "RFC 2865 section 5.32"),
    rfc("Proxy-State", 33, Octets, PACKET, "RFC 2865 section 5.33"),
    rfc("Login-LAT-Service", 34, Octets, Once, "RFC 2865 section 5.34"),
    rfc("Login-LAT-Node", 35, Octets, Once, "RFC 2865 section 5.35"),
    rfc("Login-LAT-Group", 36, Octets, Once, "RFC 2865 section 5.36"),
    rfc("Framed-AppleTalk-Link", 37, PORT, Once, "RFC 2865 section 5.37"),
    rfc("Framed-AppleTalk-Network", 38, PORT, Several, "RFC 2865 section 5.38"),
    rfc("Framed-AppleTalk-Zone", 39, Octets, Once, "RFC 2865 section 5.39"),
    rfc("Acct-Status-Type", 40, Integer(ACCT_STATUS_TYPE), ACCOUNTING, "RFC 2866 section 5.1"),
    rfc("Acct-Delay-Time", 41, ANY, ACCOUNTING, "RFC 2866 section 5.2"),
    rfc("Acct-Input-Octets", 42, ANY, ACCOUNTING, "RFC 2866 section 5.3"),
    rfc("Acct-Output-Octets", 43, ANY, ACCOUNTING, "RFC 2866 section 5.4"),
    rfc("Acct-Session-Id", 44, Octets, REQUEST, "RFC 2866 section 5.5"),
    rfc("Acct-Authentic", 45, Integer(ACCT_AUTHENTIC), ACCOUNTING, "RFC 2866 section 5.6"),
    rfc("Acct-Session-Time", 46, ANY, ACCOUNTING, "RFC 2866 section 5.7"),
    rfc("Acct-Input-Packets", 47, ANY, ACCOUNTING, "RFC 2866 section 5.8"),
    rfc("Acct-Output-Packets", 48, ANY, ACCOUNTING, "RFC 2866 section 5.9"),
    rfc("Acct-Terminate-Cause", 49, ANY, ACCOUNTING, "RFC 2866 section 5.10"),
    rfc("Acct-Multi-Session-Id", 50, Octets, ACCOUNTING, "RFC 2866 section 5.11"),
    rfc("Acct-Link-Count", 51, ANY, ACCOUNTING, "RFC 2866 section 5.12"),
    rfc("Acct-Input-Gigawords", 52, ANY, ACCOUNTING, "RFC 2869 section 5.1"),
    rfc("Acct-Output-Gigawords", 53, ANY, ACCOUNTING, "RFC 2869 section 5.2"),
    rfc("Event-Timestamp", 55, ANY, ACCOUNTING, "RFC 2869 section 5.3"),
    rfc("Egress-VLANID", 56, ANY, Several, "RFC 4675 section 2.1"),
    rfc("Ingress-Filters", 57, Integer(INGRESS_FILTERS), Once, "RFC 4675 section 2.2"),
    rfc("Egress-VLAN-Name", 58, Text, Several, "RFC 4675 section 2.3"),
    rfc("User-Priority-Table", 59, Octets, Once, "RFC 4675 section 2.4"),
    rfc("CHAP-Challenge", 60, Octets, CREDENTIAL, "RFC 2865 section 5.40"),
    rfc("NAS-Port-Type", 61, Integer(NAS_PORT_TYPE), REQUEST, "RFC 2865 section 5.41"),
    rfc("Port-Limit", 62, ANY, Once, "RFC 2865 section 5.42"),
    rfc("Login-LAT-Port", 63, Octets, Once, "RFC 2865 section 5.43"),
    tagged("Tunnel-Type", 64, Integer(TUNNEL_TYPE), Several, "RFC 2868 section 3.1"),
    tagged("Tunnel-Medium-Type", 65, Integer(TUNNEL_MEDIUM_TYPE), Several, "RFC 2868 section 3.2"),
    tagged("Tunnel-Client-Endpoint", 66, Text, Several, "RFC 2868 section 3.3"),
    tagged("Tunnel-Server-Endpoint", 67, Text, Several, "RFC 2868 section 3.4"),
    rfc("Acct-Tunnel-Connection", 68, Octets, ACCOUNTING, "RFC 2867 section 4.1"),
    rfc(
        "Tunnel-Password",
        69,
        Octets,
        Secret("it is hidden anew for each packet, and a policy is no place for a password"),
        "RFC 2868 section 3.5",
    ),
    rfc("ARAP-Password", 70, Octets, ARAP, "RFC 2869 section 5.4"),
    rfc("ARAP-Features", 71, Octets, ARAP, "RFC 2869 section 5.5"),
    rfc("ARAP-Zone-Access", 72, Integer(ARAP_ZONE_ACCESS), Once, "RFC 2869 section 5.6"),
    rfc("ARAP-Security", 73, Octets, ARAP, "RFC 2869 section 5.7"),
    rfc("ARAP-Security-Data", 74, Octets, ARAP, "RFC 2869 section 5.8"),
    rfc("Password-Retry", 75, ANY, Elsewhere("it stands in an Access-Reject"), "RFC 2869 section 5.9"),
    rfc("Prompt", 76, Integer(PROMPT), Elsewhere("it stands in an Access-Challenge"), "RFC 2869 section 5.10"),
    rfc("Connect-Info", 77, Text, REQUEST, "RFC 2869 section 5.11"),
    rfc("Configuration-Token", 78, Octets, Several, "RFC 2869 section 5.12"),
    rfc("EAP-Message", 79, Octets, Secret("it belongs to an exchange of its own"), "RFC 3579 section 3.1"),
    rfc(
        "Message-Authenticator",
        80,
        Octets,
        Elsewhere("the server itself writes it into each packet"),
        "RFC 3579 section 3.2",
    ),
    tagged("Tunnel-Private-Group-Id", 81, Text, Several, "RFC 2868 section 3.6"),
    tagged("Tunnel-Assignment-Id", 82, Text, Several, "RFC 2868 section 3.7"),
    tagged("Tunnel-Preference", 83, ANY, Several, "RFC 2868 section 3.8"),
    rfc("ARAP-Challenge-Response", 84, Octets, ARAP, "RFC 2869 section 5.15"),
    rfc("Acct-Interim-Interval", 85, Number(60, u32::MAX), Once, "RFC 2869 section 5.16"),
    rfc("Acct-Tunnel-Packets-Lost", 86, ANY, ACCOUNTING, "RFC 2867 section 4.2"),
    rfc("NAS-Port-Id", 87, Text, REQUEST, "RFC 2869 section 5.17"),
    rfc("Framed-Pool", 88, Octets, Once, "RFC 2869 section 5.18"),
    rfc("Chargeable-User-Identity", 89, Octets, WHO, "RFC 4372 section 2.2"),
    tagged("Tunnel-Client-Auth-Id", 90, Text, Several, "RFC 2868 section 3.9"),
    tagged("Tunnel-Server-Auth-Id", 91, Text, Several, "RFC 2868 section 3.10"),
    rfc("NAS-Filter-Rule", 92, Text, Several, "RFC 4849 section 2"),
    rfc("NAS-IPv6-Address", 95, Ipv6, REQUEST, "RFC 3162 section 2.1"),
    rfc("Framed-Interface-Id", 96, InterfaceId, Once, "RFC 3162 section 2.2"),
    rfc("Framed-IPv6-Prefix", 97, Ipv6Prefix, Several, "RFC 3162 section 2.3"),
    rfc("Login-IPv6-Host", 98, Ipv6, Several, "RFC 3162 section 2.4"),
    rfc("Framed-IPv6-Route", 99, Text, Several, "RFC 3162 section 2.5"),
    rfc("Framed-IPv6-Pool", 100, Octets, Once, "RFC 3162 section 2.6"),
    rfc("Error-Cause", 101, ANY, Elsewhere("it stands where a request is refused"), "RFC 5176 section 3.5"),
    rfc("EAP-Key-Name", 102, Octets, Secret("it belongs to an EAP exchange"), "RFC 4072 section 2.2"),
];

const SERVICE_TYPE: &[(&str, u32)] = &[
    ("Login", 1),
    ("Login-User", 1),
    ("Framed", 2),
    ("Framed-User", 2),
    ("Callback-Login", 3),
    ("Callback-Framed", 4),
    ("Outbound", 5),
    ("Administrative", 6),
    ("Administrative-User", 6),
    ("NAS-Prompt", 7),
    ("NAS-Prompt-User", 7),
    ("Authenticate-Only", 8),
    ("Callback-NAS-Prompt", 9),
    ("Call-Check", 10),
    ("Callback-Administrative", 11),
    // RFC 5176 section 3.2.
    ("Authorize-Only", 17),
];

const FRAMED_PROTOCOL: &[(&str, u32)] =
    &[("PPP", 1), ("SLIP", 2), ("ARAP", 3), ("Gandalf-SLML", 4), ("Xylogics-IPX-SLIP", 5), ("X.75-Synchronous", 6)];

const FRAMED_ROUTING: &[(&str, u32)] = &[("None", 0), ("Send", 1), ("Listen", 2), ("Send-and-Listen", 3)];

const FRAMED_COMPRESSION: &[(&str, u32)] = &[("None", 0), ("VJ-TCP-IP", 1), ("IPX-Header", 2), ("Stac-LZS", 3)];

const LOGIN_SERVICE: &[(&str, u32)] = &[
    ("Telnet", 0),
    ("Rlogin", 1),
    ("TCP-Clear", 2),
    ("PortMaster", 3),
    ("LAT", 4),
    ("X25-PAD", 5),
    ("X25-T3POS", 6),
    ("TCP-Clear-Quiet", 8),
];

const TERMINATION_ACTION: &[(&str, u32)] = &[("Default", 0), ("RADIUS-Request", 1)];

const ACCT_STATUS_TYPE: &[(&str, u32)] =
    &[("Start", 1), ("Stop", 2), ("Interim-Update", 3), ("Accounting-On", 7), ("Accounting-Off", 8)];

const ACCT_AUTHENTIC: &[(&str, u32)] = &[("RADIUS", 1), ("Local", 2), ("Remote", 3)];

const INGRESS_FILTERS: &[(&str, u32)] = &[("Enabled", 1), ("Disabled", 2)];

const ARAP_ZONE_ACCESS: &[(&str, u32)] =
    &[("Only-Default-Zone", 1), ("Zone-Filter-Inclusively", 2), ("Zone-Filter-Exclusively", 4)];

const PROMPT: &[(&str, u32)] = &[("No-Echo", 0), ("Echo", 1)];

const NAS_PORT_TYPE: &[(&str, u32)] = &[
    ("Async", 0),
    ("Sync", 1),
    ("ISDN-Sync", 2),
    ("ISDN-Async-V.120", 3),
    ("ISDN-Async-V.110", 4),
    ("Virtual", 5),
    ("PIAFS", 6),
    ("HDLC-Clear-Channel", 7),
    ("X.25", 8),
    ("X.75", 9),
    ("G.3-Fax", 10),
    ("SDSL", 11),
    ("ADSL-CAP", 12),
    ("ADSL-DMT", 13),
    ("IDSL", 14),
    ("Ethernet", 15),
    ("xDSL", 16),
    ("Cable", 17),
    ("Wireless-Other", 18),
    ("Wireless-802.11", 19),
    ("Wireless-IEEE-802.11", 19),
];

const TUNNEL_TYPE: &[(&str, u32)] = &[
    ("PPTP", 1),
    ("L2F", 2),
    ("L2TP", 3),
    ("ATMP", 4),
    ("VTP", 5),
    ("AH", 6),
    ("IP-IP", 7),
    ("MIN-IP-IP", 8),
    ("ESP", 9),
    ("GRE", 10),
    ("DVS", 11),
    ("IP-in-IP-Tunneling", 12),
    // RFC 3580 section 3.31.
    ("VLAN", 13),
];

const TUNNEL_MEDIUM_TYPE: &[(&str, u32)] = &[
    ("IPv4", 1),
    ("IPv6", 2),
    ("NSAP", 3),
    ("HDLC", 4),
    ("BBN-1822", 5),
    ("802", 6),
    ("IEEE-802", 6),
    ("E.163", 7),
    ("E.164", 8),
    ("F.69", 9),
    ("X.121", 10),
    ("IPX", 11),
    ("Appletalk", 12),
    ("Decnet-IV", 13),
    ("Banyan-Vines", 14),
    ("E.164-NSAP", 15),
];
