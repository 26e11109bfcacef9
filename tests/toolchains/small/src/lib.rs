//! Generated code and a macro.

include!(concat!(env!("OUT_DIR"), "/generated.rs"));

/// Forty-two.
pub fn product() -> u32 {
    SIX * mac::seven!()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_forty_two() {
        assert_eq!(super::product(), 42);
    }
}
