//! x
/// x
pub fn is_locator(n:&str,s:&[&[u8]])->bool{ s.iter().any(|t|memchr::memmem::find(t,n.as_bytes()).is_some()) }
