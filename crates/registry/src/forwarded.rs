//! From where a request came: the address of the connection, or what proxies that are trusted say.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use serde::{Deserialize, Serialize};

/// Where most proxies say for whom they ask, the nearest last.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The same as a standard has it: RFC 7239.
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
/// Proxies that one request may have passed.
const PROXIES_MAX: usize = 32;

/// The header in which proxies say for whom they ask. One is believed, that which the proxies write: a
/// proxy passes the other one on as its client has written it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 1.2.3.4`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=1.2.3.4`, RFC 7239.
    Forwarded,
}

/// What is of one caller, of an address: one who has an address of IPv6 has all of its network.
pub(crate) fn network(remote: &str) -> String {
    match remote.parse() {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        _ => remote.to_owned(),
    }
}

/// Some addresses: one, or those that begin alike, as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    /// Bits that they have in common.
    bits: u32,
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address, nor one with a number of bits: 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > all {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.address, network.bits)
    }
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(own.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.bits
    }
}

/// Whether an address is that of a proxy which is believed.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.has(address))
}

/// The client of a request: who the nearest proxy that is not trusted asks for is not believed.
pub(crate) fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[Network],
    header: ForwardedHeader,
) -> IpAddr {
    let is_trusted = |address| is_trusted(address, trusted);
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    for said in said(headers, header).into_iter().rev().take(PROXIES_MAX) {
        let Some(address) = said else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// For whom proxies say that they ask, the nearest last; none for what is no address.
fn said(headers: &HeaderMap, header: ForwardedHeader) -> Vec<Option<IpAddr>> {
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match header {
        ForwardedHeader::XForwardedFor => (FORWARDED_FOR, address),
        ForwardedHeader::Forwarded => (FORWARDED, for_whom),
    };
    let values = headers.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(read)
        .collect()
}

/// The address of `for=` in one proxy's part of `Forwarded`.
fn for_whom(item: &str) -> Option<IpAddr> {
    let pairs = item
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    address(named.next()?.1)
}

/// An address, in quotes or brackets or not, with a port or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let plain = text.parse().ok();
    let with_port = || {
        text.parse()
            .ok()
            .map(|socket: std::net::SocketAddr| socket.ip())
    };
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: IpAddr = plain.or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        let read = |text: &&str| Network::try_from((*text).to_owned()).unwrap();
        texts.iter().map(read).collect()
    }

    #[test]
    fn networks_are_read_and_have_addresses() {
        for (network, address, has) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.6", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
        ] {
            let found = networks(&[network])[0].has(address.parse().unwrap());
            assert_eq!(found, has, "{network} {address}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "a.example",
            "10.0.0.0/-1",
        ] {
            assert!(Network::try_from(text.to_owned()).is_err(), "{text}");
        }
        let text = String::from(networks(&["10.0.0.0/8"])[0]);
        assert_eq!(text, "10.0.0.0/8");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = networks(&["10.0.0.0/8", "fd00::/8"]);
        let cases = [
            ("9.9.9.9", "x-forwarded-for", "1.2.3.4", "9.9.9.9"),
            ("10.0.0.1", "x-forwarded-for", "1.2.3.4", "1.2.3.4"),
            ("::ffff:10.0.0.1", "x-forwarded-for", "1.2.3.4", "1.2.3.4"),
            // What the client itself has written is further from here.
            (
                "10.0.0.1",
                "x-forwarded-for",
                "6.6.6.6, 1.2.3.4, 10.0.0.2",
                "1.2.3.4",
            ),
            ("10.0.0.1", "x-forwarded-for", "10.0.0.9", "10.0.0.9"),
            ("10.0.0.1", "x-forwarded-for", "unknown", "10.0.0.1"),
            ("10.0.0.1", "x-forwarded-for", "1.2.3.4:5678", "1.2.3.4"),
            (
                "10.0.0.1",
                "forwarded",
                "for=6.6.6.6, for=1.2.3.4;proto=https",
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "forwarded",
                "proto=https;For=\"[2001:db8::7]:4711\"",
                "2001:db8::7",
            ),
            ("10.0.0.1", "forwarded", "for=_hidden", "10.0.0.1"),
            ("fd00::1", "x-forwarded-for", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "x-other", "1.2.3.4", "10.0.0.1"),
        ];
        for (peer, name, value, expected) in cases {
            let (header, other) = match name {
                "forwarded" => (ForwardedHeader::Forwarded, "x-forwarded-for"),
                _ => (ForwardedHeader::XForwardedFor, "forwarded"),
            };
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            // The client writes the other one as it likes.
            let forged = HeaderValue::from_static("for=7.7.7.7, 7.7.7.7");
            headers.insert(HeaderName::from_static(other), forged);
            let peer = peer.parse().unwrap();
            let found = client(peer, &headers, &trusted, header);
            assert_eq!(found.to_string(), expected, "{peer} {value}");
            let found = client(peer, &headers, &[], header);
            assert_eq!(found, peer.to_canonical());
        }
    }
}
