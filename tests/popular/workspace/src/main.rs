//! Uses some macros of the crates beside it, so that they run.

use clap::Parser;

#[derive(Parser, serde::Serialize, serde::Deserialize)]
struct Options {
    #[arg(long, default_value_t = 1)]
    times: u8,
}

#[derive(rust_embed::Embed)]
#[folder = "data"]
struct Embedded;

#[derive(askama::Template)]
#[template(source = "{{ name }}", ext = "txt")]
struct Greeting<'a> {
    name: &'a str,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

static DATA: include_dir::Dir<'_> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/data");

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let greeting = askama::Template::render(&Greeting { name: "kache" }).unwrap_or_default();
    println!("{} {} {} {:?}", options.times, greeting, DATA.files().count() + Embedded::iter().count(), Wrong(String::new()));
}
