//! What `ip("...")` accepts.

use core::net::IpAddr;

/// Checks an address, a network or a range.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if is_address(pattern) {
        Ok(())
    } else {
        Err(format!(
            "ip: invalid pattern: {}",
            model::units::quote(pattern)
        ))
    }
}

fn is_address(pattern: &str) -> bool {
    if let Some((from, to)) = pattern.split_once('-') {
        return match (from.parse::<IpAddr>(), to.parse::<IpAddr>()) {
            (Ok(from), Ok(to)) => from.is_ipv4() == to.is_ipv4() && from <= to,
            _ => false,
        };
    }
    let Some((address, bits)) = pattern.split_once('/') else {
        return pattern.parse::<IpAddr>().is_ok();
    };
    let widest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    plain && bits.parse::<u8>().is_ok_and(|bits| bits <= widest)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn addresses_networks_and_ranges() {
        for good in [
            "10.0.0.5",
            "::1",
            "10.0.0.0/8",
            "fe80::/10",
            "10.0.0.1-10.0.0.9",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1.2.3",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.9-10.0.0.1",
            "1.1.1.1-::1",
        ] {
            assert_eq!(check(bad), Err(format!("ip: invalid pattern: \"{bad}\"")));
        }
    }
}
