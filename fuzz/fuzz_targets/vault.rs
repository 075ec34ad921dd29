//! Vault files: whatever stands in one, it opens or is refused with a word.
#![no_main]

use std::path::Path;

use landfall::cupboard::vault::Vault;
use landfall::cupboard::vault::file::Passphrase;
use landfall::model::failure::Failure;
use landfall::model::name::Name;
use landfall::model::secret::Secret;
use libfuzzer_sys::fuzz_target;

struct Fixed;

impl Passphrase for Fixed {
    fn get(&self, _: &Path, _: bool) -> Result<Secret, Failure> {
        Ok(Secret::new("correct horse".to_owned()))
    }
}

fuzz_target!(|bytes: &[u8]| {
    // How hard a file may be to open is bounded elsewhere; here it would only cost time.
    if String::from_utf8_lossy(bytes).contains("-> scrypt") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("landfall-fuzz-vault-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("p.vault.age"), bytes).expect("a file");
    let name = Name::parse("acme").expect("a name");
    let _ = Vault::of(&name, &folder.join("p.toml"), Box::new(Fixed)).names_in_file();
});
