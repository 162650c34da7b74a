//! The attributes of vendors, from the vendors' own documents.

use super::{
    Definition,
    Form::{Integer, Ipv4, Ipv6, Number, Octets, Text},
    Place::{Elsewhere, Secret, Several},
    of,
};

const MICROSOFT: u32 = crate::vendor::MICROSOFT;
const CISCO: u32 = 9;
const CISCO_VPN: u32 = 3076;
const CHECK_POINT: u32 = 2620;
const JUNIPER: u32 = 2636;
const F5: u32 = 3375;
const FORTINET: u32 = 12356;
const ARUBA: u32 = 14823;
const MIKROTIK: u32 = 14988;
const PALO_ALTO: u32 = 25461;

const REQUEST: super::Place = Elsewhere("it stands in requests");
const REJECT: super::Place = Elsewhere("it stands in an Access-Reject");
const ACCOUNTING: super::Place = Elsewhere("it stands in accounting packets");
const MS_CHAP: super::Place = Secret("it belongs to an MS-CHAP exchange");
const KEY: super::Place = Secret("it is a key, made for one session and hidden anew for each packet");

const ANY: super::Form = Number(0, u32::MAX);

pub(super) static ATTRIBUTES: &[Definition] = &[
    of(MICROSOFT, "MS-CHAP-Response", 1, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-Error", 2, Octets, REJECT, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-CPW-1", 3, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-CPW-2", 4, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-LM-Enc-PW", 5, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-NT-Enc-PW", 6, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-MPPE-Encryption-Policy", 7, Integer(MPPE_POLICY), Several, "RFC 2548"),
    of(MICROSOFT, "MS-MPPE-Encryption-Types", 8, ANY, Several, "RFC 2548"),
    of(MICROSOFT, "MS-RAS-Vendor", 9, ANY, REQUEST, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-Domain", 10, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-Challenge", 11, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP-MPPE-Keys", 12, Octets, KEY, "RFC 2548"),
    of(MICROSOFT, "MS-BAP-Usage", 13, Integer(BAP_USAGE), Several, "RFC 2548"),
    of(MICROSOFT, "MS-Link-Utilization-Threshold", 14, Number(1, 100), Several, "RFC 2548"),
    of(MICROSOFT, "MS-Link-Drop-Time-Limit", 15, ANY, Several, "RFC 2548"),
    of(MICROSOFT, "MS-MPPE-Send-Key", 16, Octets, KEY, "RFC 2548"),
    of(MICROSOFT, "MS-MPPE-Recv-Key", 17, Octets, KEY, "RFC 2548"),
    of(MICROSOFT, "MS-RAS-Version", 18, Text, REQUEST, "RFC 2548"),
    of(MICROSOFT, "MS-Filter", 22, Octets, Several, "RFC 2548"),
    of(MICROSOFT, "MS-Acct-Auth-Type", 23, ANY, ACCOUNTING, "RFC 2548"),
    of(MICROSOFT, "MS-Acct-EAP-Type", 24, ANY, ACCOUNTING, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP2-Response", 25, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP2-Success", 26, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-CHAP2-CPW", 27, Octets, MS_CHAP, "RFC 2548"),
    of(MICROSOFT, "MS-Primary-DNS-Server", 28, Ipv4, Several, "RFC 2548"),
    of(MICROSOFT, "MS-Secondary-DNS-Server", 29, Ipv4, Several, "RFC 2548"),
    of(MICROSOFT, "MS-Primary-NBNS-Server", 30, Ipv4, Several, "RFC 2548"),
    of(MICROSOFT, "MS-Secondary-NBNS-Server", 31, Ipv4, Several, "RFC 2548"),
    of(MICROSOFT, "MS-RAS-Client-Name", 34, Octets, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-RAS-Client-Version", 35, Octets, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-User-Security-Identity", 40, Octets, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-Network-Access-Server-Type", 47, Integer(NAS_TYPE), REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-Machine-Name", 50, Octets, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-User-IPv4-Address", 61, Ipv4, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-User-IPv6-Address", 62, Ipv6, REQUEST, "MS-RNAP section 2.2.1"),
    of(MICROSOFT, "MS-RDG-Device-Redirection", 63, Integer(RDG_DEVICES), Several, "MS-RNAP section 2.2.1"),
    of(CISCO, "Cisco-AVPair", 1, Text, Several, "Cisco, RADIUS vendor-specific attributes"),
    of(CISCO_VPN, "ASA-Group-Policy", 25, Text, Several, "Cisco ASA, IETF RADIUS authorization attributes"),
    of(CHECK_POINT, "CP-Gaia-User-Role", 229, Text, Several, "Check Point, sk72940"),
    of(CHECK_POINT, "CP-Gaia-SuperUser-Access", 230, Integer(NO_YES), Several, "Check Point, sk72940"),
    of(JUNIPER, "Juniper-Local-User-Name", 1, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(JUNIPER, "Juniper-Allow-Commands", 2, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(JUNIPER, "Juniper-Deny-Commands", 3, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(JUNIPER, "Juniper-Allow-Configuration", 4, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(JUNIPER, "Juniper-Deny-Configuration", 5, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(JUNIPER, "Juniper-User-Permissions", 10, Text, Several, "Junos OS, vendor-specific RADIUS attributes"),
    of(F5, "F5-LTM-User-Role", 1, Integer(F5_ROLE), Several, "F5, K14324"),
    of(F5, "F5-LTM-User-Partition", 3, Text, Several, "F5, K14324"),
    of(F5, "F5-LTM-User-Shell", 5, Text, Several, "F5, K14324"),
    of(F5, "F5-LTM-User-Info-1", 12, Text, Several, "F5, K14324"),
    of(FORTINET, "Fortinet-Group-Name", 1, Text, Several, "FortiOS, RADIUS AVPs and VSAs"),
    of(FORTINET, "Fortinet-Client-IP-Address", 2, Ipv4, REQUEST, "FortiOS, RADIUS AVPs and VSAs"),
    of(FORTINET, "Fortinet-Vdom-Name", 3, Text, Several, "FortiOS, RADIUS AVPs and VSAs"),
    of(FORTINET, "Fortinet-Interface-Name", 5, Text, Several, "FortiOS, RADIUS AVPs and VSAs"),
    of(FORTINET, "Fortinet-Access-Profile", 6, Text, Several, "FortiOS, RADIUS AVPs and VSAs"),
    of(ARUBA, "Aruba-User-Role", 1, Text, Several, "ArubaOS-CX, vendor-specific attributes"),
    of(ARUBA, "Aruba-User-Vlan", 2, Number(1, 4094), Several, "ArubaOS, RADIUS vendor-specific attributes"),
    of(ARUBA, "Aruba-Priv-Admin-User", 3, Integer(ARUBA_PRIVILEGE), Several, "ArubaOS-CX, user role assignment"),
    of(ARUBA, "Aruba-Admin-Role", 4, Text, Several, "ArubaOS, RADIUS vendor-specific attributes"),
    of(MIKROTIK, "Mikrotik-Group", 3, Text, Several, "RouterOS, RADIUS client"),
    of(MIKROTIK, "Mikrotik-Rate-Limit", 8, Text, Several, "RouterOS, RADIUS client"),
    of(MIKROTIK, "Mikrotik-Address-List", 19, Text, Several, "RouterOS, RADIUS client"),
    of(PALO_ALTO, "PaloAlto-Admin-Role", 1, Text, Several, "Palo Alto Networks, RADIUS VSA"),
    of(PALO_ALTO, "PaloAlto-Admin-Access-Domain", 2, Text, Several, "Palo Alto Networks, RADIUS VSA"),
    of(PALO_ALTO, "PaloAlto-Panorama-Admin-Role", 3, Text, Several, "Palo Alto Networks, RADIUS VSA"),
    of(PALO_ALTO, "PaloAlto-Panorama-Admin-Access-Domain", 4, Text, Several, "Palo Alto Networks, RADIUS VSA"),
    of(PALO_ALTO, "PaloAlto-User-Group", 5, Text, Several, "Palo Alto Networks, RADIUS VSA"),
];

const MPPE_POLICY: &[(&str, u32)] = &[("Encryption-Allowed", 1), ("Encryption-Required", 2)];

const BAP_USAGE: &[(&str, u32)] = &[("Not-Allowed", 0), ("Allowed", 1), ("Required", 2)];

const NAS_TYPE: &[(&str, u32)] = &[
    ("Unspecified", 0),
    ("Terminal-Server-Gateway", 1),
    ("Remote-Access-Server", 2),
    ("DHCP-Server", 3),
    ("Health-Registration-Authority", 5),
    ("HCAP-Server", 6),
];

/// Bits; a number says several at once.
const RDG_DEVICES: &[(&str, u32)] = &[
    ("Disable-Drives", 1),
    ("Disable-Printers", 2),
    ("Disable-Serial-Ports", 4),
    ("Disable-Clipboard", 8),
    ("Disable-Plug-and-Play", 16),
    ("Disable-All", 1 << 29),
    ("Enable-All", 1 << 30),
];

const NO_YES: &[(&str, u32)] = &[("No", 0), ("Yes", 1)];

const F5_ROLE: &[(&str, u32)] = &[
    ("Administrator", 0),
    ("Resource-Admin", 20),
    ("User-Manager", 40),
    ("Auditor", 80),
    ("Manager", 100),
    ("Application-Editor", 300),
    ("Operator", 400),
    ("Certificate-Manager", 500),
    ("iRule-Manager", 510),
    ("Guest", 700),
    ("Web-Application-Security-Administrator", 800),
    ("Web-Application-Security-Editor", 810),
    ("Acceleration-Policy-Editor", 850),
    ("No-Access", 900),
];

const ARUBA_PRIVILEGE: &[(&str, u32)] = &[("Operators", 1), ("Administrators", 15), ("Auditors", 19)];
