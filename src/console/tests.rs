use std::collections::HashMap;

use super::*;

#[test]
fn the_locale_says_whether_there_are_chinese_letters() {
    let has = |variables: &[(&str, &str)]| {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        locale_has_unicode(|name| variables.get(name).map(|value| (*value).to_owned()))
    };
    assert!(has(&[("LANG", "zh_CN.UTF-8")]));
    assert!(has(&[("LANG", "C.utf8")]));
    assert!(!has(&[("LANG", "zh_CN.GB18030")]));
    assert!(!has(&[("LANG", "C")]));
    assert!(!has(&[]));
    assert!(!has(&[("LC_ALL", "POSIX"), ("LANG", "zh_CN.UTF-8")]));
    assert!(has(&[("LC_ALL", ""), ("LANG", "zh_CN.UTF-8")]));
}
