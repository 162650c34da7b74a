//! Whether servers have checked an MS-CHAP-V2 exchange that they let in (S49).

use countersign_desk::UpstreamAnswer;
use countersign_radius::{Attribute, AttributeType, Attributes, OpenAttributes, VendorSpecific, vendor};

use super::trouble;

/// The identifier of the exchange in a request, where there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(Option<u8>);

impl Asked {
    /// Of the attributes of a request.
    pub(super) fn of(attributes: &[u8]) -> Self {
        let response = of_microsoft(Attributes::over(attributes), vendor::MS_CHAP2_RESPONSE);
        Self(response.first().map(|value| value.first().copied().unwrap_or_default()))
    }

    /// Whether an Accept lacks what only somebody who knows the password can make. Then nobody has looked at the exchange, and the
    /// Accept says nothing of the user (RFC 2548 section 2.3.3: once, with the identifier of the response).
    pub(super) fn is_unproven_by(self, accept: &OpenAttributes) -> bool {
        let Some(identifier) = self.0 else { return false };
        !matches!(of_microsoft(accept.iter(), vendor::MS_CHAP2_SUCCESS)[..], [[first, b'S', b'=', ..]] if *first == identifier)
    }
}

/// What is said of such an Accept.
pub(super) fn unproven() -> UpstreamAnswer {
    let text = "an Access-Accept to an MS-CHAP-V2 exchange without the MS-CHAP2-Success that belongs to it: the server lets in \
                without having checked the password";
    UpstreamAnswer::Unavailable(trouble("upstream_ms_chap_unproven", text))
}

/// The values of all sub-attributes of a kind.
fn of_microsoft<'a>(attributes: impl Iterator<Item = Attribute<'a>>, kind: u8) -> Vec<&'a [u8]> {
    attributes
        .filter(|attribute| attribute.kind == AttributeType::VENDOR_SPECIFIC)
        .filter_map(|attribute| VendorSpecific::parse(attribute.value))
        .filter(|specific| specific.vendor == vendor::MICROSOFT)
        .flat_map(|specific| specific.attributes())
        .filter(|inner| inner.kind == kind)
        .map(|inner| inner.value)
        .collect()
}

#[cfg(test)]
mod tests {
    use countersign_radius::AttributeList;

    use super::*;

    fn list(attributes: &[(u8, &[u8])]) -> AttributeList {
        let mut list = AttributeList::new();
        list.push(AttributeType::USER_NAME, b"alice").unwrap();
        for (kind, value) in attributes {
            list.push_vendor(vendor::MICROSOFT, *kind, value).unwrap();
        }
        list
    }

    fn is_unproven(request: &[(u8, &[u8])], accept: &[(u8, &[u8])]) -> bool {
        let accept = OpenAttributes::from_octets(list(accept).octets()).unwrap();
        Asked::of(list(request).octets()).is_unproven_by(&accept)
    }

    #[test]
    fn s49_an_accept_without_the_success_of_its_exchange_lets_nobody_in() {
        let mut response = [7; 50];
        response[0] = 9;
        let asked: &[(u8, &[u8])] = &[(vendor::MS_CHAP_CHALLENGE, &[1; 16]), (vendor::MS_CHAP2_RESPONSE, &response)];
        let success: (u8, &[u8]) = (vendor::MS_CHAP2_SUCCESS, b"\x09S=0123456789ABCDEF0123456789ABCDEF01234567");
        assert!(!is_unproven(asked, &[success]));
        let another: (u8, &[u8]) = (vendor::MS_CHAP2_SUCCESS, b"\x08S=0123456789ABCDEF0123456789ABCDEF01234567");
        for odd in [&[][..], &[another], &[success, success], &[(vendor::MS_CHAP2_SUCCESS, b"\x09")]] {
            assert!(is_unproven(asked, odd), "{odd:?}");
        }
        assert!(!is_unproven(&[], &[]), "who sends a password has no exchange");
    }
}
