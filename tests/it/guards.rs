use std::time::Duration;

use landfall::doors::ssh::Patience;
use landfall::model::access::{KeyInUse, Nftables, Sshd};
use landfall::model::diff::absent;
use landfall::model::failure::{Failure, Kind};
use landfall::model::machine::{Check, File};
use landfall::model::resource::{Resource, Spec};
use landfall::rehearsal::machines::Machines;
use serde_json::json;

use crate::bare::{Bare, carry_out, hosts_are_asked_for, observe, plan, root};

/// How long a host is waited for that must let us in again, whatever was done to it. It undoes a change within 45
/// seconds; a machine that runs many tests side by side may take far longer for all that comes before and after.
const PATIENCE: Duration = Duration::from_secs(300);

/// A host, and what decides who gets in as it was at first.
struct Guarded {
    host: Bare,
    before: String,
}

impl Guarded {
    async fn boot() -> Guarded {
        let mut host = Bare::boot("deploy", json!({})).await;
        host.world.patience = Patience { reach: PATIENCE, login: PATIENCE };
        let tool = [
            host.resource("package", "nftables", package("nftables")),
            // The way things are on a host that Landfall looks after, so that there is something to go back to.
            host.resource("sshd", "settings", sshd(&[("PasswordAuthentication", "no"), ("MaxAuthTries", "4")])),
            host.resource("nftables", "landfall", table("tcp dport 22 accept")),
        ];
        let doors = host.world.doors();
        carry_out(&doors, plan(&doors, &tool).await).await.expect("a host to begin with");
        assert!(plan(&doors, &tool).await.is_empty());
        let before = settings(&host).await;
        assert!(before.contains("maxauthtries 4") && before.contains("dport 22"), "{before}");
        Guarded { host, before }
    }

    /// Makes a change that must not stay. Gives what was said, once the host is as it was and lets us in.
    async fn must_not_stay(&self, change: Resource) -> String {
        let doors = self.host.world.doors();
        let failure = match observe(&doors, std::slice::from_ref(&change)).await {
            Ok(_) => carry_out(&doors, plan(&doors, std::slice::from_ref(&change)).await).await.expect_err("it stayed"),
            Err(failure) => failure,
        };
        self.is_as_before().await;
        words(&failure)
    }

    /// Waits until a new connection finds the host as it was.
    async fn is_as_before(&self) {
        let doors = self.host.world.doors();
        let probe = [self.host.file("/etc/hostname", "x")];
        observe(&doors, &probe).await.expect("the host lets us in again");
        assert_eq!(settings(&self.host).await, self.before);
        let left = self
            .host
            .console("ls -A /var/lib/landfall/guard /etc/systemd/system/landfall-undo.service 2>&1 || :")
            .await;
        assert_eq!(left.matches("No such file").count(), 2, "nothing of the guard is left: {left}");
    }

    async fn close(self) {
        self.host.close().await;
    }
}

fn words(failure: &Failure) -> String {
    assert_ne!(failure.kind, Kind::Stopped);
    failure.chain().join("\n") + " / " + failure.hint.as_deref().unwrap_or_default()
}

fn package(name: &str) -> Spec {
    Spec::Package(landfall::model::machine::Package { name: name.into(), instead: &[] })
}

fn sshd(settings: &[(&str, &str)]) -> Spec {
    let settings = settings.iter().map(|(keyword, value)| ((*keyword).to_owned(), (*value).to_owned())).collect();
    Spec::Sshd(Sshd { path: "/etc/ssh/sshd_config.d/00-landfall.conf".into(), settings })
}

/// A table that lets in what `rule` says, and what belongs to connections that are there.
fn table(rule: &str) -> Spec {
    whole_table(&format!("ct state established,related accept\n\t\tiifname \"lo\" accept\n\t\t{rule}"))
}

fn whole_table(rules: &str) -> Spec {
    let text = format!(
        "table inet landfall\ndelete table inet landfall\ntable inet landfall {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy drop;\n\t\t{rules}\n\t}}\n}}\n"
    );
    Spec::Nftables(Nftables { table: "landfall".into(), path: "/etc/landfall/firewall.nft".into(), text })
}

fn sudoers(text: &str, check: bool) -> Spec {
    let words = ["visudo", "--check", "--file", "{}"].map(str::to_owned);
    let check = check.then(|| Check { run: words.into(), user: "root" });
    let path = "/etc/sudoers.d/zz-broken".to_owned();
    Spec::File(File { path, content: text.into(), owner: root(), mode: 0o440, check, hidden: false })
}

/// What decides who gets in, in words that can be compared.
async fn settings(host: &Bare) -> String {
    host.console(
        "mkdir -p /run/sshd; sshd -T; nft --stateless list table inet landfall; ls /etc/sudoers.d; \
         cat /etc/ssh/sshd_config.d/*.conf /etc/landfall/firewall.nft /etc/ssh/ssh_host_ed25519_key.pub",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_that_would_shut_us_out_is_undone() {
    if !hosts_are_asked_for() {
        return;
    }
    // Each host bears a few, so that a newer sshd's patience with failed logins is not what is tested.
    let bad: [&[(&str, &str, &str)]; 4] = [
        &[("AllowUsers", "nobody-else", "refused deploy the login"), ("Frobnicate", "yes", "Bad configuration option")],
        &[("Port", "2222", "cannot reach the host"), ("HostKey", "/etc/ssh/none", "is as it was before")],
        &[
            ("ForceCommand", "/bin/false", "cannot use sudo"),
            ("ListenAddress", "127.0.0.1:22", "cannot reach the host"),
        ],
        &[("PubkeyAuthentication", "no", "refused deploy the login")],
    ];
    let one = async |bad: &[(&str, &str, &str)]| {
        let guarded = Guarded::boot().await;
        for (keyword, value, expected) in bad {
            let change = guarded.host.resource("sshd", "settings", sshd(&[(keyword, value)]));
            let said = guarded.must_not_stay(change).await;
            assert!(said.contains(expected), "{keyword} {value}: {said}");
        }
        guarded.close().await;
    };
    tokio::join!(one(bad[0]), one(bad[1]), one(bad[2]), one(bad[3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_is_judged_by_what_it_says_and_we_never_demand_what_we_do_not_speak() {
    if !hosts_are_asked_for() {
        return;
    }
    let guarded = Guarded::boot().await;
    let host = &guarded.host;
    // Nothing is even tried that this build could not speak afterwards.
    let change = host.resource("sshd", "settings", sshd(&[("KexAlgorithms", "sntrup761x25519-sha512@openssh.com")]));
    let said = guarded.must_not_stay(change).await;
    assert!(said.contains("no KexAlgorithms that this build of Landfall speaks"), "{said}");
    // A later file that says otherwise loses.
    host.console("echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/50-cloud-init.conf").await;
    let ours = host.resource("sshd", "settings", sshd(&[("PasswordAuthentication", "no"), ("MaxAuthTries", "3")]));
    let doors = host.world.doors();
    carry_out(&doors, plan(&doors, std::slice::from_ref(&ours)).await).await.expect("ours comes first");
    assert!(host.console("sshd -T").await.contains("passwordauthentication no"));
    // An earlier one wins, is noticed as drift, and cannot be hidden by writing our own file again.
    host.console("echo 'MaxAuthTries 6' >/etc/ssh/sshd_config.d/00-earlier.conf; systemctl reload ssh").await;
    assert_eq!(plan(&doors, std::slice::from_ref(&ours)).await.len(), 1);
    let failure = carry_out(&doors, plan(&doors, std::slice::from_ref(&ours)).await).await.unwrap_err();
    assert!(words(&failure).contains("not in force") && words(&failure).contains("maxauthtries 3"), "{failure:?}");
    host.console("rm /etc/ssh/sshd_config.d/00-earlier.conf").await;
    // So does a condition, which plain `sshd -T` passes over.
    let condition = "printf 'Match User root,bob\\n  PasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/99-hand.conf; systemctl reload ssh";
    host.console(condition).await;
    let drift = plan(&doors, std::slice::from_ref(&ours)).await;
    assert!(format!("{drift:?}").contains("for root: passwordauthentication yes"), "{drift:?}");
    let failure = carry_out(&doors, drift).await.unwrap_err();
    assert!(words(&failure).contains("for root: passwordauthentication yes"), "{failure:?}");
    host.console("rm /etc/ssh/sshd_config.d/99-hand.conf").await;
    carry_out(&doors, plan(&doors, std::slice::from_ref(&ours)).await).await.expect("and is mended");
    guarded.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_would_shut_us_out_is_undone() {
    if !hosts_are_asked_for() {
        return;
    }
    let one = async |rules: Vec<(Spec, &str)>| {
        let guarded = Guarded::boot().await;
        for (spec, expected) in rules {
            let said = guarded.must_not_stay(guarded.host.resource("nftables", "landfall", spec)).await;
            assert!(said.contains(expected), "{expected}: {said}");
        }
        guarded.close().await;
    };
    let shut_out = "would have locked us out";
    tokio::join!(
        one(vec![(table("tcp dport 2222 accept"), shut_out), (whole_table("syntax error"), "the old ones stay")]),
        // Not even the connection that is open goes on.
        one(vec![(whole_table("drop"), shut_out)]),
        one(vec![(table("ip saddr 192.0.2.0/24 tcp dport 22 accept"), shut_out)]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_that_would_no_longer_work_and_keys_nobody_vouches_for_are_undone() {
    if !hosts_are_asked_for() {
        return;
    }
    let guarded = Guarded::boot().await;
    let host = &guarded.host;
    for (text, check, expected) in [
        ("deploy ALL=(ALL) PASSWD: ALL\n", true, "cannot use sudo"),
        ("deploy ALL=(ALL) !ALL\n", true, "cannot use sudo"),
        ("this is no rule\n", true, "the old one stays"),
        ("Defaults requiretty\n", false, "cannot use sudo"),
    ] {
        let said = guarded.must_not_stay(host.resource("file", "/etc/sudoers.d/zz-broken", sudoers(text, check))).await;
        assert!(said.contains(expected), "{text}: {said}");
    }
    let stranger = KeyInUse { fingerprint: "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into() };
    host.console(
        "mkdir -p /var/lib/landfall/host-key; ssh-keygen -q -t ed25519 -N '' -f /var/lib/landfall/host-key/ed25519",
    )
    .await;
    let said = guarded.must_not_stay(host.resource("host-key", "in-use", Spec::KeyInUse(stranger))).await;
    assert!(said.contains("nobody vouches for"), "{said}");

    // A guard that cannot be set up changes nothing: no room for its copies, or no clock.
    host.console(
        "mkdir -p /var/lib/landfall/guard && mount -t tmpfs -o size=4k,nr_inodes=2 none /var/lib/landfall/guard",
    )
    .await;
    let change = || host.resource("sshd", "settings", sshd(&[("MaxAuthTries", "5")]));
    let doors = host.world.doors();
    let failure = carry_out(&doors, plan(&doors, &[change()]).await).await.unwrap_err();
    assert!(words(&failure).contains("failed on the host"), "{failure:?}");
    host.console("umount /var/lib/landfall/guard && rmdir /var/lib/landfall/guard").await;
    assert_eq!(settings(host).await, guarded.before);
    host.console("printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/systemd-run && chmod +x /usr/local/sbin/systemd-run")
        .await;
    guarded.must_not_stay(change()).await;
    host.console("rm /usr/local/sbin/systemd-run").await;
    carry_out(&doors, plan(&doors, &[change()]).await).await.expect("with a clock it goes well");
    guarded.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_would_shut_us_out_is_undone_and_stays_ours() {
    if !hosts_are_asked_for() {
        return;
    }
    let guarded = Guarded::boot().await;
    let host = &guarded.host;
    let doors = host.world.doors();
    let ours = [host.resource("sshd", "settings", sshd(&[("PubkeyAuthentication", "yes")]))];
    carry_out(&doors, plan(&doors, &ours).await).await.unwrap();
    // Without ours, this would be in force.
    host.console("echo 'PubkeyAuthentication no' >/etc/ssh/sshd_config.d/50-other.conf").await;
    let remove = async || {
        let seen = observe(&doors, &ours).await.unwrap();
        let gone = absent(&ours[0], &seen[0]);
        assert!(!gone.is_keep(), "it is ours: {seen:?}");
        carry_out(&doors, vec![gone]).await
    };
    let failure = remove().await.expect_err("it would shut us out");
    assert!(words(&failure).contains("would have locked us out"), "{failure:?}");
    assert!(host.console("mkdir -p /run/sshd; sshd -T").await.contains("pubkeyauthentication yes"));
    host.console("rm /etc/ssh/sshd_config.d/50-other.conf").await;
    remove().await.expect("now it goes, and it still was ours");
    assert!(host.console("ls /etc/ssh/sshd_config.d").await.trim().is_empty());
    guarded.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_kills_and_lost_connections_in_the_middle_are_undone() {
    if !hosts_are_asked_for() {
        return;
    }
    // sshd is killed while the proof is awaited: the change was bad, and nobody is there to say so.
    let killed = async {
        let guarded = Guarded::boot().await;
        let host = &guarded.host;
        let change = host.resource("sshd", "settings", sshd(&[("AllowUsers", "nobody-else")]));
        let doors = host.world.doors();
        let todo = plan(&doors, &[change]).await;
        let (made, ()) = tokio::join!(carry_out(&doors, todo), async {
            host.console(
                "until [ -e /var/lib/landfall/guard/armed ]; do sleep 0.05; done; sleep 0.5; pkill -KILL sshd",
            )
            .await;
        });
        made.unwrap_err();
        guarded.is_as_before().await;
        guarded.close().await;
    };
    // The power goes while the change waits for its proof.
    let cut = async {
        let guarded = Guarded::boot().await;
        let host = &guarded.host;
        let change = host.resource("nftables", "landfall", table("tcp dport 2222 accept"));
        let doors = host.world.doors();
        let todo = plan(&doors, &[change]).await;
        let (made, ()) = tokio::join!(carry_out(&doors, todo), async {
            host.console("until [ -e /var/lib/landfall/guard/armed ]; do sleep 0.05; done; sleep 0.5; cat /var/lib/landfall/guard/armed").await;
            host.machines.switch(1, "poweroff").await.unwrap();
            host.machines.switch(1, "poweron").await.unwrap();
        });
        made.unwrap_err();
        let doors = host.world.doors();
        observe(&doors, &[host.file("/etc/hostname", "x")]).await.expect("it comes up and lets us in");
        // The table itself is gone with the power; what would be loaded is the old file.
        assert!(host.console("cat /etc/landfall/firewall.nft").await.contains("tcp dport 22 accept"));
        assert!(host.console("ls /var/lib/landfall/guard/armed 2>&1 || :").await.contains("No such file"));
        guarded.close().await;
    };
    // The connection is cut at each program the guard calls, once each.
    let lost = async |programs: &[&str]| {
        let guarded = Guarded::boot().await;
        let host = &guarded.host;
        for program in programs {
            let change = host.resource("sshd", "settings", sshd(&[("AllowUsers", "nobody-else")]));
            let doors = host.world.doors();
            let todo = plan(&doors, &[change]).await;
            // The session's own sshd dies, and with it every way to hear of the result.
            host.console(&format!(
                "printf '#!/bin/sh\\nrm -f /usr/local/sbin/{program}\\npkill -KILL -u deploy sshd\\npkill -KILL -f \"sshd-session: deploy\"\\nexec {program} \"$@\"\\n' \
                 >/usr/local/sbin/{program} && chmod +x /usr/local/sbin/{program}"
            ))
            .await;
            carry_out(&doors, todo).await.unwrap_err();
            guarded.is_as_before().await;
            let shim = host.console(&format!("ls /usr/local/sbin/{program} 2>&1 || :")).await;
            assert!(shim.contains("No such file"), "the connection was cut at {program}");
        }
        guarded.close().await;
    };
    // The connection is cut just after the proof: the change was good, and stays, also through a power cut.
    let proved = async {
        let guarded = Guarded::boot().await;
        let host = &guarded.host;
        let change = [host.resource("sshd", "settings", sshd(&[("MaxAuthTries", "5")]))];
        let doors = host.world.doors();
        let todo = plan(&doors, &change).await;
        host.console(
            "printf '#!/bin/sh\\nls /var/lib/landfall/guard/proved.* >/dev/null 2>&1 || exec sync \"$@\"\\nrm -f /usr/local/sbin/sync\\n\
             pkill -KILL -u deploy sshd\\npkill -KILL -f \"sshd-session: deploy\"\\nexec sync \"$@\"\\n' \
             | sed 's|exec sync|exec /bin/sync|' >/usr/local/sbin/sync && chmod +x /usr/local/sbin/sync",
        )
        .await;
        let _ = carry_out(&doors, todo).await;
        let doors = host.world.doors();
        assert!(plan(&doors, &change).await.is_empty(), "it is looked at once the guard is gone, and stays");
        assert!(host.console("ls /usr/local/sbin/sync 2>&1 || :").await.contains("No such file"), "it was cut");
        host.machines.switch(1, "poweroff").await.unwrap();
        host.machines.switch(1, "poweron").await.unwrap();
        let doors = host.world.doors();
        assert!(plan(&doors, &change).await.is_empty(), "and after a power cut, too");
        guarded.close().await;
    };
    tokio::join!(
        killed,
        proved,
        cut,
        lost(&["sync", "systemd-run", "mv"]),
        lost(&["sshd", "systemctl", "sleep"]),
        lost(&["cp", "chmod", "flock"])
    );
}
