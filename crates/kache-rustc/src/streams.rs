//! x
/// x
pub fn has_diagnostics(s:&[u8])->bool{ s.split(|b|*b==b'\n').any(|l|!l.is_empty()&&!l.starts_with(b"{\"$message_type\":\"artifact\"")) }
