//! How a network card gets its address, checked so that a slip of the pen is found before the gate is lost.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Bits of the network in an address: from a whole `10.…` to four addresses.
const PREFIXES: RangeInclusive<u8> = 8..=30;

/// DNS servers of one card: resolvers ask no more.
const DNS_SERVERS: usize = 3;

/// Bytes of a card's name (`IFNAMSIZ` of `linux/if.h`, less the end).
const NAME_BYTES: usize = 15;

/// What a card is ordered to have, as a technician writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkOrder {
    /// `eth0`.
    pub name: String,
    /// Whether the network gives it its address; then there is nothing else.
    pub dhcp: bool,
    /// `192.168.1.20`, or `192.168.1.20/24` without a mask.
    pub address: String,
    /// `255.255.255.0`.
    pub mask: String,
    /// May be empty: no way to other networks.
    pub gateway: String,
    /// At most three; may be empty: names are not looked up.
    pub dns: Vec<String>,
}

/// How a card gets its address. Only [`NetworkSettings::of`] makes one, so that it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    name: String,
    addressing: Addressing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Addressing {
    Dhcp,
    Static { address: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>, dns: Vec<Ipv4Addr> },
}

fn wrong(field: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Input, format!("{field}: {why}"))
}

fn parse(field: &str, text: &str) -> Result<Ipv4Addr> {
    text.trim()
        .parse()
        .map_err(|_| wrong(field, format_args!("{text:?} is no IPv4 address such as 192.168.1.20")))
}

/// An address that a machine may have.
fn host(field: &str, text: &str) -> Result<Ipv4Addr> {
    let address = parse(field, text)?;
    let [first, ..] = address.octets();
    if address.is_loopback() || address.is_link_local() || first == 0 || first >= 224 {
        return Err(wrong(field, format_args!("{address} is no address of a machine in a network")));
    }
    Ok(address)
}

/// The bits of a mask such as 255.255.255.0.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    // At most 32.
    (bits.leading_ones() == bits.count_ones()).then(|| bits.leading_ones() as u8)
}

fn mask_of(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl NetworkSettings {
    /// Checks an order. `Input` names the field that cannot be used.
    pub fn of(order: &NetworkOrder) -> Result<Self> {
        let name = order.name.trim();
        // What networkd would take for a pattern, or a folder, is none.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > NAME_BYTES
            || !name.chars().all(plain)
            || name.starts_with(['.', '-'])
        {
            return Err(wrong("name", format_args!("{:?} is no network card such as eth0", order.name)));
        }
        let name = name.to_owned();
        if order.dhcp {
            let others = [&order.address, &order.mask, &order.gateway];
            if others.iter().any(|field| !field.trim().is_empty()) || !order.dns.is_empty() {
                return Err(wrong(
                    "dhcp",
                    "the network gives the address: leave address, mask, gateway and dns out",
                ));
            }
            return Ok(Self { name, addressing: Addressing::Dhcp });
        }
        let (address, prefix) = match (order.address.split_once('/'), order.mask.trim()) {
            (Some((address, prefix)), "") => {
                let prefix = prefix
                    .trim()
                    .parse()
                    .map_err(|_| wrong("address", format_args!("/{prefix} is no length of a network")))?;
                (address, prefix)
            }
            (Some(_), _) => return Err(wrong("mask", "the address has one already, behind its /")),
            (None, "") => return Err(wrong("mask", "is missing: such as 255.255.255.0")),
            (None, mask) => {
                let prefix = prefix_of(parse("mask", mask)?);
                (&*order.address, prefix.ok_or_else(|| wrong("mask", format_args!("{mask} has a gap")))?)
            }
        };
        if !PREFIXES.contains(&prefix) {
            return Err(wrong(
                "mask",
                format_args!("a network of /{prefix}: use /{} to /{}", PREFIXES.start(), PREFIXES.end()),
            ));
        }
        let address = host("address", address)?;
        let mask = mask_of(prefix);
        // The first and the last address of a network are nobody's.
        let free = |of: Ipv4Addr| ![0, !mask].contains(&(u32::from(of) & !mask));
        if !free(address) {
            return Err(wrong(
                "address",
                format_args!("{address}/{prefix} is the network itself, or everybody in it"),
            ));
        }
        let gateway = match order.gateway.trim() {
            "" => None,
            text => {
                let gateway = host("gateway", text)?;
                if u32::from(gateway) & mask != u32::from(address) & mask || !free(gateway) {
                    return Err(wrong(
                        "gateway",
                        format_args!("{gateway} is not in the network of {address}/{prefix}"),
                    ));
                }
                if gateway == address {
                    return Err(wrong("gateway", "is the card's own address"));
                }
                Some(gateway)
            }
        };
        if order.dns.len() > DNS_SERVERS {
            return Err(wrong("dns", format_args!("at most {DNS_SERVERS} servers")));
        }
        let dns = order.dns.iter().map(|server| host("dns", server)).collect::<Result<Vec<_>>>()?;
        for (index, server) in dns.iter().enumerate() {
            if dns[..index].contains(server) {
                return Err(wrong("dns", format_args!("{server} is there twice")));
            }
        }
        Ok(Self { name, addressing: Addressing::Static { address, prefix, gateway, dns } })
    }

    /// The card.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, where it is not the network that gives it.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.addressing {
            Addressing::Dhcp => None,
            Addressing::Static { address, .. } => Some(address),
        }
    }

    /// The order that it was, with the mask written out.
    pub fn order(&self) -> NetworkOrder {
        let name = self.name.clone();
        match &self.addressing {
            Addressing::Dhcp => NetworkOrder { name, dhcp: true, ..NetworkOrder::default() },
            Addressing::Static { address, prefix, gateway, dns } => NetworkOrder {
                name,
                dhcp: false,
                address: address.to_string(),
                mask: Ipv4Addr::from(mask_of(*prefix)).to_string(),
                gateway: gateway.map_or_else(String::new, |gateway| gateway.to_string()),
                dns: dns.iter().map(Ipv4Addr::to_string).collect(),
            },
        }
    }

    /// The file for systemd-networkd (systemd.network(5)).
    pub fn file(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("# Written by menshen.\n[Match]\nName={}\n\n[Network]\n", self.name);
        match &self.addressing {
            Addressing::Dhcp => text.push_str("DHCP=ipv4\n"),
            Addressing::Static { address, prefix, gateway, dns } => {
                let _ = writeln!(text, "DHCP=no\nAddress={address}/{prefix}");
                if let Some(gateway) = gateway {
                    let _ = writeln!(text, "Gateway={gateway}");
                }
                for server in dns {
                    let _ = writeln!(text, "DNS={server}");
                }
            }
        }
        text
    }

    /// The reverse of [`NetworkSettings::file`]. `Input` for a file that somebody else has written.
    pub fn parse(text: &str) -> Result<Self> {
        let all = |key: &str| {
            let value = move |line: &str| {
                line.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
            };
            text.lines().filter_map(value).collect::<Vec<_>>()
        };
        let first = |key: &str| all(key).into_iter().next().unwrap_or_default();
        let settings = Self::of(&NetworkOrder {
            name: first("Name"),
            dhcp: first("DHCP") == "ipv4",
            address: first("Address"),
            mask: String::new(),
            gateway: first("Gateway"),
            dns: all("DNS"),
        })?;
        if settings.file() != text {
            return Err(Error::new(Kind::Input, "somebody else has written it"));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(address: &str, mask: &str, gateway: &str, dns: &[&str]) -> NetworkOrder {
        NetworkOrder {
            name: "eth0".into(),
            dhcp: false,
            address: address.into(),
            mask: mask.into(),
            gateway: gateway.into(),
            dns: dns.iter().map(|server| (*server).to_owned()).collect(),
        }
    }

    #[test]
    fn the_file_is_what_networkd_reads() {
        let fixed =
            NetworkSettings::of(&order("192.168.1.20/24", "", "192.168.1.1", &["192.168.1.1", "10.0.0.53"]))
                .unwrap();
        assert_eq!(
            fixed.file(),
            "# Written by menshen.\n[Match]\nName=eth0\n\n[Network]\nDHCP=no\nAddress=192.168.1.20/24\n\
             Gateway=192.168.1.1\nDNS=192.168.1.1\nDNS=10.0.0.53\n"
        );
        assert_eq!(fixed.order().mask, "255.255.255.0");
        let alone = NetworkSettings::of(&order("10.1.2.3", "255.255.252.0", "", &[])).unwrap();
        assert!(alone.file().ends_with("DHCP=no\nAddress=10.1.2.3/22\n"), "{}", alone.file());
        let dhcp =
            NetworkSettings::of(&NetworkOrder { name: "eth1".into(), dhcp: true, ..NetworkOrder::default() })
                .unwrap();
        assert_eq!(dhcp.file(), "# Written by menshen.\n[Match]\nName=eth1\n\n[Network]\nDHCP=ipv4\n");
        for settings in [fixed, alone, dhcp] {
            assert_eq!(NetworkSettings::parse(&settings.file()).unwrap(), settings);
            assert_eq!(NetworkSettings::of(&settings.order()).unwrap(), settings);
        }
        assert!(NetworkSettings::parse("[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n").is_err());
    }

    #[test]
    fn what_would_lose_the_gate_is_refused_by_name() {
        let dns4: &[&str] = &["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"];
        for (field, wrong) in [
            ("address", order("", "255.255.255.0", "", &[])),
            ("address", order("192.168.1.256", "255.255.255.0", "", &[])),
            ("address", order("192.168.1", "255.255.255.0", "", &[])),
            ("address", order("192.168.1.0", "255.255.255.0", "", &[])),
            ("address", order("192.168.1.255", "255.255.255.0", "", &[])),
            ("address", order("192.168.1.127/25", "", "", &[])),
            ("address", order("127.0.0.1", "255.0.0.0", "", &[])),
            ("address", order("0.0.0.5", "255.0.0.0", "", &[])),
            ("address", order("169.254.1.1", "255.255.0.0", "", &[])),
            ("address", order("224.0.0.5", "255.255.255.0", "", &[])),
            ("address", order("255.255.255.255", "255.255.255.0", "", &[])),
            ("address", order("192.168.1.20/x", "", "", &[])),
            ("address", order("192.168.1.20\nGateway=6.6.6.6", "255.255.255.0", "", &[])),
            ("mask", order("192.168.1.20", "", "", &[])),
            ("mask", order("192.168.1.20", "255.0.255.0", "", &[])),
            ("mask", order("192.168.1.20", "0.0.0.255", "", &[])),
            ("mask", order("192.168.1.20", "0.0.0.0", "", &[])),
            ("mask", order("192.168.1.20", "255.255.255.255", "", &[])),
            ("mask", order("192.168.1.20/31", "", "", &[])),
            ("mask", order("192.168.1.20/33", "", "", &[])),
            ("mask", order("192.168.1.20/24", "255.255.255.0", "", &[])),
            ("gateway", order("192.168.1.20/24", "", "192.168.2.1", &[])),
            ("gateway", order("192.168.1.20/24", "", "192.168.1.20", &[])),
            ("gateway", order("192.168.1.20/24", "", "192.168.1.0", &[])),
            ("gateway", order("192.168.1.20/24", "", "192.168.1.255", &[])),
            ("gateway", order("192.168.1.20/24", "", "gateway", &[])),
            ("dns", order("192.168.1.20/24", "", "", &["127.0.0.1"])),
            ("dns", order("192.168.1.20/24", "", "", &["dns.example"])),
            ("dns", order("192.168.1.20/24", "", "", &["1.1.1.1", "1.1.1.1"])),
            ("dns", order("192.168.1.20/24", "", "", dns4)),
            ("dhcp", NetworkOrder { dhcp: true, ..order("192.168.1.20/24", "", "", &[]) }),
            ("dhcp", NetworkOrder { dhcp: true, ..order("", "", "", &["1.1.1.1"]) }),
        ] {
            let error = NetworkSettings::of(&wrong).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.message().starts_with(&format!("{field}: ")), "{wrong:?}: {error}");
        }
        for name in ["", "eth*", "../eth0", "eth 0", "-eth0", ".", "0123456789abcdef", "eth0\n", "网卡"] {
            let dhcp = NetworkOrder { name: name.into(), dhcp: true, ..NetworkOrder::default() };
            // A line end is cut off like a blank.
            let outcome = NetworkSettings::of(&dhcp);
            assert!(outcome.is_err() || name == "eth0\n", "{name:?}");
        }
    }
}
