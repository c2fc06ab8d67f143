//! The executor does not know which guarantee it runs; nothing but `delivery` does.

use crate::{lines_of_code, read, rust_files};

const GUARANTEES: [&str; 3] = ["AtMostOnce", "AtLeastOnce", "ExactlyOnce"];

#[test]
fn the_names_of_the_guarantees_stay_in_delivery() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        if file.starts_with("src/delivery") {
            continue;
        }
        for (number, code) in lines_of_code(&read(&file)) {
            let re_export = file.ends_with("lib.rs") && code.starts_with("pub use delivery::");
            if GUARANTEES.iter().any(|name| code.contains(name)) && !re_export {
                wrong.push(format!("{}:{number}: {}", file.display(), code.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "a guarantee is named outside src/delivery:\n{}", wrong.join("\n"));
}
