//! The operating systems Landfall sets up.

use schemars::JsonSchema;
use serde::Deserialize;

/// A release of an operating system, by the name clouds agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum System {
    /// Debian 12, "bookworm".
    #[serde(rename = "debian-12")]
    Debian12,
    /// Debian 13, "trixie".
    #[default]
    #[serde(rename = "debian-13")]
    Debian13,
    /// Ubuntu 24.04 LTS, "noble".
    #[serde(rename = "ubuntu-24.04")]
    Ubuntu2404,
}

impl System {
    /// Every release.
    pub const ALL: &'static [System] = &[System::Debian12, System::Debian13, System::Ubuntu2404];

    /// What playbooks and clouds call it.
    pub fn as_str(self) -> &'static str {
        match self {
            System::Debian12 => "debian-12",
            System::Debian13 => "debian-13",
            System::Ubuntu2404 => "ubuntu-24.04",
        }
    }

    /// The release an os-release(5) file tells of, by its `ID` and `VERSION_ID`; `None` for any other.
    pub fn of_release(id: &str, version: &str) -> Option<System> {
        let name = format!("{id}-{version}");
        System::ALL.iter().copied().find(|system| system.as_str() == name)
    }
}
