//! What the gate reports, and to whom besides the platform: `VerifyRetRspSet`, `HttpPush`.

use serde_json::{Value, json};

use super::{Fields, choice};
use crate::error::Result;
use crate::gate::settings::{PushSettings, ReportSettings};

/// Stands for a secret that is set. The document would send the secret itself, to whoever may read settings; a
/// platform that writes a whole group back as it read it sends this, and the secret stays.
const HIDDEN: &str = "******";

/// `VerifyRetRspSet` (4.5.10.18).
pub(super) fn verify_ret_rsp(report: &ReportSettings) -> Value {
    json!({ "SnapshotPic": report.with_picture })
}

/// Changes it.
pub(super) fn set_verify_ret_rsp(fields: &Fields<'_>, report: &mut ReportSettings) -> Result<()> {
    if let Some(with_picture) = fields.flag("SnapshotPic")? {
        report.with_picture = with_picture;
    }
    Ok(())
}

/// `HttpPush` (4.5.10.16). The secret has two spellings in the document.
pub(super) fn http_push(push: &PushSettings) -> Value {
    let secret = if push.app_secret.is_empty() { "" } else { HIDDEN };
    json!({
        "httpPushEnable": push.enabled,
        "httpServerAddr": push.server,
        "httpServerAddrStandby": push.standby,
        "httpServerPort": push.port,
        "timeout": push.timeout_s,
        "charcode": 0,
        "heartbeat_interval": push.heartbeat_s,
        "private_protocol": push.private_protocol,
        "sslenable": push.tls,
        "sslport": push.tls_port,
        "appid": push.app_id,
        "appSecret": secret,
        "appsecret": secret,
        "AuthSn": push.auth_sn,
    })
}

/// Changes it.
pub(super) fn set_http_push(fields: &Fields<'_>, push: &mut PushSettings) -> Result<()> {
    // UTF-8 is the only one.
    choice(fields, "charcode", &[(0, ())])?;
    for (key, flag) in [("httpPushEnable", &mut push.enabled), ("sslenable", &mut push.tls)] {
        if let Some(read) = fields.flag(key)? {
            *flag = read;
        }
    }
    for (key, most, number) in [
        ("httpServerPort", 65_535, &mut push.port),
        ("timeout", 1000, &mut push.timeout_s),
        ("heartbeat_interval", 65_535, &mut push.heartbeat_s),
        ("private_protocol", 65_535, &mut push.private_protocol),
        ("sslport", 65_535, &mut push.tls_port),
    ] {
        if let Some(read) = fields.int_within(key, 0, most)? {
            *number = u16::try_from(read).expect("within 0..=65535");
        }
    }
    for (key, most, text) in [
        ("httpServerAddr", 64, &mut push.server),
        ("httpServerAddrStandby", 64, &mut push.standby),
        ("appid", 127, &mut push.app_id),
        ("AuthSn", 32, &mut push.auth_sn),
    ] {
        if let Some(read) = fields.text(key, most)? {
            *text = read;
        }
    }
    // Each spelling by itself: one may be what was read, and the other what was changed.
    for key in ["appSecret", "appsecret"] {
        if let Some(secret) = fields.text(key, 127)?.filter(|secret| secret != HIDDEN) {
            push.app_secret = secret;
        }
    }
    Ok(())
}
