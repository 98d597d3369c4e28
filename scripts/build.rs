//! Puts what `scripts/build-a2ui` made where the program embeds it; nothing, when it made nothing.
#![expect(clippy::disallowed_methods, reason = "cargo runs it, and reads what it prints")]
use std::path::Path;

fn main() {
    let made = "src/http/a2ui/dist/a2ui.bundle.js.gz";
    println!("cargo:rerun-if-changed=scripts/build.rs");
    // A path that is not there makes cargo run this at every build: then its folder is what to look at.
    println!("cargo:rerun-if-changed={}", if Path::new(made).exists() { made } else { "src/http/a2ui" });
    let bytes = std::fs::read(made).unwrap_or_default();
    let target = Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("a2ui.bundle.js.gz");
    std::fs::write(target, bytes).expect("cargo's own folder can be written");
}
