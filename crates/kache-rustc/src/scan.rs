//! x
use kache_model::*;
/// x
pub struct Seen { /// x
 pub root: Option<String>, /// x
 pub mentions: Mentions }
/// x
pub struct Scanner(Vec<u8>, Roots);
impl Scanner {
/// x
pub fn new(r:&Roots)->Self{Self(vec![], r.clone())}
/// x
pub fn push(&mut self, c:&[u8]) { self.0.extend_from_slice(c) }
/// x
pub fn finish(self)->Seen{ let mut m=Mentions::NONE; for (i,n) in Mentions::NAMES.iter().enumerate(){ if memchr::memmem::find(&self.0,n.as_bytes()).is_some(){m.insert(i)} }
 let mut root=None; for r in self.1.iter(){ if r.kind==RootKind::Toolchain {continue} for s in r.spellings(){ if memchr::memmem::find(&self.0,s.as_bytes()).is_some(){root=Some(s.to_string())} } }
 Seen{root,mentions:m} }
}
