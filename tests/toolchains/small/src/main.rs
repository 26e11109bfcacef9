//! Says it.

fn main() {
    println!("{}", small::product());
}
