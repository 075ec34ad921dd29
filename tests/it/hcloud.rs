use std::process::Command;

use crate::binary::Simulated;
use crate::world::{new_key, skipped};

/// The official client, pointed at a simulator.
struct Client<'a> {
    simulated: &'a Simulated,
    folder: &'a std::path::Path,
}

impl Client<'_> {
    /// Runs the client. Gives its output, or what it complains about.
    fn run(&self, arguments: &str) -> Result<String, String> {
        let output = Command::new("hcloud")
            .args(arguments.split(' '))
            .env_clear()
            .env("HOME", self.folder)
            .env("HCLOUD_ENDPOINT", &self.simulated.url)
            .env("HCLOUD_TOKEN", &self.simulated.token)
            .current_dir(self.folder)
            .output()
            .expect("hcloud runs");
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    #[track_caller]
    fn ok(&self, arguments: &str) -> String {
        self.run(arguments).unwrap_or_else(|why| panic!("hcloud {arguments}: {why}"))
    }

    #[track_caller]
    fn refused(&self, arguments: &str, why: &str) {
        let said = self.run(arguments).expect_err(arguments);
        assert!(said.contains(why), "hcloud {arguments}: {said}");
    }
}

#[test]
fn the_official_client_works_against_the_simulator() {
    if Command::new("hcloud").arg("version").output().is_err() {
        assert!(
            std::env::var_os("LANDFALL_HOST_TESTS").is_none(),
            "hcloud-cli is not installed: sh tests/lab/setup.sh"
        );
        skipped("hcloud is not installed (Debian package hcloud-cli)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    new_key(&folder.path().join("key"));
    let simulated = Simulated::start(folder.path());
    let client = Client { simulated: &simulated, folder: folder.path() };

    for (list, entry) in [("server-type list", "cx23"), ("location list", "fsn1"), ("image list", "debian-13")] {
        assert!(client.ok(list).contains(entry), "{list}");
    }
    assert!(
        client.ok("location describe 1").contains("fsn1") && client.ok("server-type describe 101").contains("cx23")
    );
    client.ok("ssh-key create --name laptop --public-key-from-file key.pub");
    client.ok("firewall create --name wall --label team=a");
    client.ok("firewall add-rule wall --direction in --protocol tcp --port 22 --source-ips 0.0.0.0/0");
    client.ok("volume create --name data --size 10 --location fsn1");
    client.ok("primary-ip create --name front --type ipv4");
    let said = client
        .ok("server create --name web --type cx23 --image debian-13 --location fsn1 --ssh-key laptop --firewall wall \
         --volume data --primary-ipv4 front --label team=a");
    let address = said.lines().find_map(|line| line.strip_prefix("IPv4: ")).expect("an address").to_owned();

    assert!(client.ok("server list").contains(&address));
    assert!(client.ok("server list --selector team=a -o noheader").contains("web"));
    assert_eq!(client.ok("server list --selector team=b -o noheader"), "");
    for (what, words) in [
        ("server describe web", ["running", "debian-13"]),
        ("ssh-key describe laptop", ["Fingerprint", "ssh-ed25519"]),
        ("firewall describe wall", ["team: a", "Port:\t\t22"]),
        ("volume describe data", ["10 GB", "Name:\t\tweb"]),
        ("primary-ip describe front", ["ipv4", address.as_str()]),
    ] {
        let said = client.ok(what);
        for word in words {
            assert!(said.contains(word), "hcloud {what}: no {word} in {said}");
        }
    }
    client.ok("server poweroff web");
    client.ok("server enable-backup web");
    client.ok("server change-type web cx33 --keep-disk");
    client.ok("server poweron web");
    assert!(client.ok("server describe web").contains("cx33"));
    client.ok("volume detach data");
    client.ok("volume resize data --size 20");
    client.ok("volume attach data --server web");

    client.refused("ssh-key create --name again --public-key-from-file key.pub", "uniqueness_error");
    client.refused("server create --name web --type cx23 --image debian-13", "uniqueness_error");
    client.refused("server create --name big --type cx53 --image debian-13 --location fsn1", "resource_unavailable");
    client.refused("server describe nobody", "server not found: nobody");
    client.refused("firewall delete wall", "resource_in_use");
    client.refused("primary-ip delete front", "must_be_unassigned");

    client.ok("server delete web");
    for (kind, name) in [("volume", "data"), ("firewall", "wall"), ("primary-ip", "front"), ("ssh-key", "laptop")] {
        client.ok(&format!("{kind} delete {name}"));
        assert_eq!(client.ok(&format!("{kind} list -o noheader")), "", "{kind}");
    }
    assert_eq!(client.ok("server list -o noheader"), "");

    let mut mistyped = Simulated::start(folder.path());
    mistyped.token = "wrong".into();
    Client { simulated: &mistyped, folder: folder.path() }.refused("server list", "unauthorized");
}
