//! Whatever an address and a `Location` say: they are refused, or stay what they are when written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::http::Url;

fuzz_target!(|text: &str| {
    // The first line is the address, the rest where its server redirects to.
    let (address, location) = text.split_once('\n').unwrap_or((text, "/"));
    let fixed = Url::parse("https://a:444/x/y?z").expect("an address");
    for from in [Url::parse(address).ok(), Some(fixed)].into_iter().flatten() {
        assert_eq!(Url::parse(&from.to_string()).expect("it was read"), from);
        let Ok(target) = from.redirected(location) else { continue };
        assert!(target.secure || !from.secure, "TLS is never lost");
        assert!(target.port != 0 && target.path.starts_with('/'));
        assert!(target.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
