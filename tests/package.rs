//! What is published: the library, its examples and its README, and nothing that tests or builds it.

use std::process::Command;

#[test]
fn the_package_has_what_users_need_and_no_more() {
    let mut list = Command::new(env!("CARGO"));
    list.args(["package", "--list", "--allow-dirty", "--offline", "--manifest-path"]);
    let output = list.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = list.lines().map(|file| file.replace('\\', "/")).collect();
    for needed in ["README.md", "Cargo.toml", "src/lib.rs"] {
        assert!(files.iter().any(|file| file == needed), "{needed} is not in it: {files:?}");
    }
    assert!(files.iter().any(|file| file.starts_with("examples/")), "{files:?}");
    let own =
        |file: &&String| file.contains('/') && !file.starts_with("src/") && !file.starts_with("examples/");
    assert_eq!(files.iter().find(own), None);
}
