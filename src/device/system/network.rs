//! The network cards, read from the kernel (`/sys/class/net`, `/proc/net/route`) and `resolv.conf`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use super::Interface;

/// Where DNS servers are named. The second has the real ones where the first names a server on this machine
/// that asks them (systemd-resolved).
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// All cards: `eth…` first, then the others by name. Loopback is left out, and so are bridges, tunnels and the
/// like unless there is nothing else.
pub(super) fn interfaces() -> Vec<Interface> {
    let cards = Path::new("/sys/class/net");
    let mut found: BTreeMap<(bool, String), Interface> = BTreeMap::new();
    for card in std::fs::read_dir(cards).into_iter().flatten().flatten() {
        let name = card.file_name().to_string_lossy().into_owned();
        if name == "lo" || !card.path().is_dir() {
            continue;
        }
        let mac = std::fs::read_to_string(card.path().join("address")).unwrap_or_default();
        let interface = Interface { name: name.clone(), mac: upper_mac(&mac), ..Interface::default() };
        found.insert((!name.starts_with("eth"), name), interface);
    }
    let real = |name: &str| name.starts_with("eth") || cards.join(name).join("device").exists();
    if found.keys().any(|(_, name)| real(name)) {
        found.retain(|(_, name), _| real(name));
    }
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let dns = RESOLVERS
        .iter()
        .find_map(|path| name_server(&std::fs::read_to_string(path).ok()?))
        .map_or_else(String::new, |server| server.to_string());
    // Without addresses the cards are still worth showing.
    let addresses = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "the addresses of the network cards cannot be read");
        Vec::new()
    });
    found
        .into_values()
        .map(|mut interface| {
            let first = addresses.iter().find_map(|address| match &address.addr {
                if_addrs::IfAddr::V4(v4) if address.name == interface.name => Some((v4.ip, v4.netmask)),
                _ => None,
            });
            if let Some((ip, mask)) = first {
                interface.address = ip.to_string();
                interface.mask = mask.to_string();
                interface.gateway =
                    gateway(&routes, &interface.name).map_or_else(String::new, |ip| ip.to_string());
                interface.dns.clone_from(&dns);
            }
            interface
        })
        .collect()
}

/// `7E:22:4A:6E:FD:37`; empty for a card without an address.
fn upper_mac(text: &str) -> String {
    let mac = text.trim().to_ascii_uppercase();
    if mac.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0') { mac } else { String::new() }
}

/// The gateway of the default route over `card` with the lowest metric, from the text of `/proc/net/route`:
/// addresses are hexadecimal words in the byte order of the machine (proc(5)).
fn gateway(routes: &str, card: &str) -> Option<Ipv4Addr> {
    /// `RTF_GATEWAY` of `linux/route.h`.
    const GATEWAY: u32 = 2;
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[name, to, by, flags, _, _, metric, ..] = &fields[..] else { return None };
            let default = name == card && hex(to)? == 0 && hex(flags)? & GATEWAY != 0;
            default.then_some((metric.parse::<u32>().ok()?, Ipv4Addr::from(hex(by)?.to_ne_bytes())))
        })
        .min()
        .map(|(_, gateway)| gateway)
}

/// The first IPv4 name server that is not this machine, from the text of a `resolv.conf`.
fn name_server(text: &str) -> Option<Ipv4Addr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .find(|server: &Ipv4Addr| !server.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_found() {
        // As a kernel prints it: 0101A8C0 is 192.168.1.1, 0100000A is 10.0.0.1.
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth1\t00000000\t0100000A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0901A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t50\t00000000\t0\t0\t0\n\
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(gateway(routes, "eth0"), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(gateway(routes, "eth1"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(gateway(routes, "eth2"), None);
        assert_eq!(gateway("", "eth0"), None);
    }

    #[test]
    fn a_name_server_of_this_machine_is_none() {
        let text = "# made by hand\nsearch site\nnameserver 127.0.0.53\nnameserver fe80::1\nnameserver 192.168.1.1\n";
        assert_eq!(name_server(text), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(name_server("options edns0\n"), None);
    }

    #[test]
    fn addresses_are_in_capitals() {
        assert_eq!(upper_mac("7e:22:4a:6e:fd:37\n"), "7E:22:4A:6E:FD:37");
        assert_eq!(upper_mac("00:00:00:00:00:00\n"), "");
        assert_eq!(upper_mac(""), "");
    }

    #[test]
    fn this_machines_cards_are_not_loopback() {
        for card in interfaces() {
            assert_ne!(card.name, "lo");
            assert!(!card.address.starts_with("127."), "{card:?}");
        }
    }
}
