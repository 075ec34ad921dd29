use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall::model::diff::{Change, ReadyChange, Verb, absent, diff};
use landfall::model::event::{Progress, Report};
use landfall::model::failure::{Failure, Kind};
use landfall::model::machine::{
    AuthorizedKey, Check, Command, Directory, File, GeneratedSecret, HostAt, Package, Service, TakeUp, User,
};
use landfall::model::name::Name;
use landfall::model::resource::{Observed, Resource, Spec};
use landfall::model::value::{Quoting, Value};
use landfall::providers;
use landfall::rehearsal::machines::Machines;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use crate::bare::{Bare, carry_out, hosts_are_asked_for, observe, plan, root};
use crate::world::{World, new_key};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_made_kept_mended_and_taken_away() {
    if !hosts_are_asked_for() {
        return;
    }
    let host = Bare::boot("deploy", serde_json::json!({})).await;
    let doors = host.world.doors();
    host.world.secrets.0.lock().unwrap().get("hetzner-token").unwrap();
    let unit = "[Unit]\nDescription=a test\n[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    let tree = |text: &str| {
        let files = [("index.html", text), ("deep/er/a b.txt", "it's $HOME \"quoted\"")];
        Some(files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect())
    };
    let odd = "quotes ' \" and $(touch /tmp/owned) `id` \\ and ü\nno newline at the end";
    let want = vec![
        host.resource("package", "tree", Spec::Package(Package { name: "tree".into(), instead: &[] })),
        host.resource(
            "user",
            "worker",
            Spec::User(User { name: "worker".into(), shell: Some("/bin/sh".into()), groups: vec!["adm".into()] }),
        ),
        host.resource(
            "authorized-key",
            "worker/1",
            Spec::AuthorizedKey(AuthorizedKey { user: "worker".into(), key: host.at.keys[0].clone() }),
        ),
        host.file("/etc/systemd/system/probe.service", unit),
        host.file("/etc/odd $file 'name'.txt", odd),
        host.file("/etc/hostname-of-mine", ""),
        host.resource(
            "directory",
            "/srv/plain",
            Spec::Directory(Directory {
                path: "/srv/plain".into(),
                owner: ("worker".into(), "adm".into()),
                mode: 0o750,
                tree: None,
            }),
        ),
        host.resource(
            "directory",
            "/srv/site",
            Spec::Directory(Directory { path: "/srv/site".into(), owner: root(), mode: 0o755, tree: tree("one") }),
        ),
        host.resource(
            "generated-secret",
            "/srv/plain/k.env",
            Spec::GeneratedSecret(GeneratedSecret {
                path: "/srv/plain/k.env".into(),
                variable: "K".into(),
                length: 40,
            }),
        ),
        host.resource(
            "service",
            "probe.service",
            Spec::Service(Service {
                unit: "probe.service".into(),
                reads: vec!["/etc/systemd/system/probe.service".into()],
                take_up: TakeUp::Reload,
                unit_files: vec![],
                works: None,
                own_kernel: false,
            }),
        ),
        host.resource(
            "command",
            "once",
            Spec::Command(Command {
                mark: Name::parse("once").unwrap(),
                run: ["sh", "-c", "echo run >>/srv/log"].map(str::to_owned).into(),
                creates: Some("/srv/log".into()),
                fresh_minutes: None,
                reads: vec![],
                takes_backup: false,
                backup: None,
            }),
        ),
    ];
    let changes = plan(&doors, &want).await;
    assert!(changes.iter().all(|change| change.verb == Verb::Create));
    assert_eq!(changes.len(), want.len(), "nothing is there at first");

    let before = doors.ssh.used();
    let after = carry_out(&doors, changes).await.unwrap();
    assert_eq!(
        (doors.ssh.used().0 - before.0, doors.ssh.used().1 - before.1),
        (0, 1),
        "one exec makes all and looks again"
    );
    for (want, seen) in want.iter().zip(&after) {
        assert!(diff(want, seen).is_keep(), "{}: {:?}", want.address, diff(want, seen).verb);
    }
    let before = doors.ssh.used();
    assert!(plan(&doors, &want).await.is_empty(), "and nothing is left to do");
    assert_eq!(doors.ssh.used().1 - before.1, 1, "which one exec finds out");
    assert_eq!(host.console("cat '/etc/odd $file '\\''name'\\''.txt'").await, odd);
    assert_eq!(host.console("cat '/srv/site/deep/er/a b.txt'").await, "it's $HOME \"quoted\"");
    assert!(host.console("ls /tmp/owned 2>&1 || :").await.contains("cannot access"), "nothing was run");
    assert_eq!(host.console("systemctl is-active probe.service").await.trim(), "active");
    assert_eq!(host.console("stat -c '%a %U:%G' /srv/plain/k.env").await.trim(), "600 root:root");
    let secret = host.console("cat /srv/plain/k.env").await;
    assert!(secret.starts_with("K=") && secret.trim().len() == 42, "{secret}");

    // By hand, behind its back: each is seen, shown, and mended by one more exec.
    host.console(
        "echo loose >>/etc/hostname-of-mine; chmod 777 /srv/plain; echo x >/srv/site/stray; systemctl stop probe; \
         : >/home/worker/.ssh/authorized_keys; gpasswd -d worker adm; rm /var/lib/landfall/marks/command.once",
    )
    .await;
    let drift = plan(&doors, &want).await;
    let mut names: Vec<String> = drift.iter().map(|change| change.resource.address.to_string()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "host/web/authorized-key/worker/1",
            "host/web/command/once",
            "host/web/directory/srv/plain",
            "host/web/directory/srv/site",
            "host/web/file/etc/hostname-of-mine",
            "host/web/service/probe.service",
            "host/web/user/worker",
        ]
    );
    let shown = format!("{drift:?}");
    assert!(
        shown.contains("loose") && shown.contains("0777") && shown.contains("stray"),
        "what differs is shown: {shown}"
    );
    carry_out(&doors, drift).await.unwrap();
    assert!(plan(&doors, &want).await.is_empty());
    assert_eq!(host.console("cat /srv/plain/k.env").await, secret, "a generated secret is never made twice");
    assert_eq!(host.console("grep -c run /srv/log").await.trim(), "2", "its mark was gone, so it ran again");

    // A file the service reads changes: it is told, once, even when the run that changed the file broke off.
    let changed: Vec<Resource> = want
        .iter()
        .cloned()
        .map(|mut resource| {
            if let Spec::File(file) = &mut resource.spec
                && file.path.ends_with("probe.service")
            {
                file.content = unit.replace("a test", "another test").into();
            }
            resource
        })
        .collect();
    let only_file: Vec<Change> =
        plan(&doors, &changed).await.into_iter().filter(|c| c.resource.address.kind == "file").collect();
    carry_out(&doors, only_file).await.unwrap();
    let left = plan(&doors, &changed).await;
    assert_eq!(
        left.iter().map(|c| c.resource.address.to_string()).collect::<Vec<_>>(),
        ["host/web/service/probe.service"]
    );
    carry_out(&doors, left).await.unwrap();
    assert!(plan(&doors, &changed).await.is_empty());

    // And away again, in reverse; what was there before Landfall stays.
    let there = host.file("/etc/issue", "ours\n");
    let original = host.console("cat /etc/issue").await;
    carry_out(&doors, plan(&doors, std::slice::from_ref(&there)).await).await.unwrap();
    let all: Vec<Resource> = changed.into_iter().chain([there]).collect();
    let seen = observe(&doors, &all).await.unwrap();
    let mut gone: Vec<Change> =
        all.iter().zip(&seen).map(|(want, seen)| absent(want, seen)).filter(|c| !c.is_keep()).collect();
    gone.reverse();
    let after = carry_out(&doors, gone).await.unwrap();
    assert!(after.iter().all(|seen| !matches!(seen, Observed::Present { ours: true, .. })), "{after:?}");
    assert_eq!(host.console("cat /etc/issue").await, original, "the original came back");
    assert_eq!(host.console("ls /srv; id worker 2>&1 || :; command -v tree || :").await.lines().next(), Some("log"));
    assert_eq!(host.console("cat /var/lib/landfall/made").await, "");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_a_host_are_told_and_the_next_run_converges() {
    if !hosts_are_asked_for() {
        return;
    }
    let mut host = Bare::boot("root", serde_json::json!({})).await;
    let canary = "Can4ry-with-$-and-'quote'";
    host.world.secrets.0.lock().unwrap().insert("pass".into(), canary.into());
    let doors = host.world.doors();

    // A check refuses the new file: the old one stays, and the log is told without the secret in it.
    let checked = |content: Value| {
        let check = Check {
            run: ["sh", "-c", "cat \"$0\" >&2; grep -q good \"$0\"", "{}"].map(str::to_owned).into(),
            user: "root",
        };
        let spec =
            File { path: "/etc/judged".into(), content, owner: root(), mode: 0o600, check: Some(check), hidden: false };
        host.resource("file", "/etc/judged", Spec::File(spec))
    };
    let secret = || Value::Secret(Name::parse("pass").unwrap(), Quoting::Plain);
    let good = checked(Value::Joined(vec!["good ".into(), secret()]));
    carry_out(&doors, plan(&doors, std::slice::from_ref(&good)).await).await.unwrap();
    assert_eq!(host.console("cat /etc/judged").await, format!("good {canary}"));
    assert!(plan(&doors, std::slice::from_ref(&good)).await.is_empty(), "a secret's file is known by its digest");
    let bad = [checked(Value::Joined(vec!["bad ".into(), secret()])), host.file("/etc/after", "x")];
    let failure = carry_out(&doors, plan(&doors, &bad).await).await.unwrap_err();
    let told = failure.chain().join("\n");
    assert!(told.contains("host/web/file/etc/judged failed") && told.contains("the old one stays"), "{told}");
    assert!(told.contains("bad ‹secret pass›") && !told.contains(canary), "{told}");
    assert_eq!(
        host.console("cat /etc/judged; ls /etc/after /etc/judged.landfall-new 2>&1 || :")
            .await
            .matches("cannot access")
            .count(),
        2
    );
    host.console("echo other >/etc/judged").await;
    let shown = format!("{:?}", plan(&doors, std::slice::from_ref(&good)).await);
    assert!(shown.contains("holds secrets") && !shown.contains("other"), "what holds secrets is not shown: {shown}");

    // Another program holds dpkg's lock for a while, and an earlier dpkg was cut off: apt waits, and it is mended.
    host.console("nohup flock /var/lib/dpkg/lock-frontend sleep 8 >/dev/null 2>&1 & sleep 1").await;
    let package = [host.resource("package", "tree", Spec::Package(Package { name: "tree".into(), instead: &[] }))];
    carry_out(&doors, plan(&doors, &package).await).await.unwrap();
    assert!(plan(&doors, &package).await.is_empty());
    let missing = [host.resource(
        "package",
        "no-such-thing",
        Spec::Package(Package { name: "no-such-thing".into(), instead: &[] }),
    )];
    let failure = carry_out(&doors, plan(&doors, &missing).await).await.unwrap_err();
    assert!(failure.chain().join("\n").contains("Unable to locate package no-such-thing"), "{:?}", failure.chain());

    // On a host that was there before, somebody's own file is not overwritten before it is handed over.
    host.console("mkdir -p /etc/theirs; echo theirs >/etc/theirs/file").await;
    host.at.made_by_us = false;
    let theirs = [host.file("/etc/theirs/file", "ours\n")];
    let foreign = plan(&doors, &theirs).await;
    assert!(
        matches!(&foreign[0].verb, Verb::Conflict(what) if what.contains("`--adopt host/web/file/etc/theirs/file`")),
        "{foreign:?}"
    );
    let theirs = [Resource { adopt: true, ..theirs[0].clone() }];
    carry_out(&doors, plan(&doors, &theirs).await).await.unwrap();
    let seen = observe(&doors, &theirs).await.unwrap();
    carry_out(&doors, vec![absent(&theirs[0], &seen[0])]).await.unwrap();
    assert_eq!(host.console("cat /etc/theirs/file").await, "theirs\n", "kept aside, and back");

    // What failed half way is ours all the same, so that it can be taken away.
    let half = [host.resource(
        "command",
        "half",
        Spec::Command(Command {
            mark: Name::parse("half").unwrap(),
            run: vec!["false".into()],
            creates: None,
            fresh_minutes: None,
            reads: vec![],
            takes_backup: false,
            backup: None,
        }),
    )];
    carry_out(&doors, plan(&doors, &half).await).await.unwrap_err();
    assert!(host.console("cat /var/lib/landfall/made").await.contains("acme host/web/command/half"));

    // A second Landfall changes the host at the same time: one of them says so and does nothing.
    host.console("nohup flock /run/landfall/lock sleep 5 >/dev/null 2>&1 & sleep 1").await;
    let file = [host.file("/etc/later", "x")];
    let failure = carry_out(&doors, plan(&doors, &file).await).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Busy, "{:?}", failure.chain());

    // The user stops: the change in hand is finished, the next one is not begun.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (sender, told) = std::sync::mpsc::channel();
    let flag = stop.clone();
    let report = Report::new(
        move |progress| {
            if let Progress::Started(address) = progress {
                flag.store(true, std::sync::atomic::Ordering::Relaxed);
                let _ = sender.send(address.to_string());
            }
        },
        stop,
    );
    let slow = |name: &str| {
        Spec::Command(Command {
            mark: Name::parse(name).unwrap(),
            run: ["sleep", "3"].map(str::to_owned).into(),
            creates: None,
            fresh_minutes: None,
            reads: vec![],
            takes_backup: false,
            backup: None,
        })
    };
    let two = [host.resource("command", "first", slow("first")), host.resource("command", "second", slow("second"))];
    let ready: Vec<ReadyChange> = plan(&doors, &two).await.into_iter().map(|c| ReadyChange::new(c).unwrap()).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let failure = providers::find("host").unwrap().apply(&doors, &ready, &report).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Stopped, "{:?}", failure.chain());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["host/web/command/first"]);
    let left: Vec<String> = plan(&doors, &two).await.iter().map(|c| c.resource.address.to_string()).collect();
    assert_eq!(left, ["host/web/command/second"]);

    // The host goes away in the middle: lost, and after it is back the next run finishes.
    let report = Report::silent();
    let (machines, gone) = (host.machines.clone(), slow("gone"));
    let cut = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        machines.switch(1, "poweroff").await.unwrap();
    };
    let last = [host.resource("command", "gone", gone)];
    let ready: Vec<ReadyChange> = plan(&doors, &last).await.into_iter().map(|c| ReadyChange::new(c).unwrap()).collect();
    let provider = providers::find("host").unwrap();
    let (ended, ()) = tokio::join!(provider.apply(&doors, &ready, &report), cut);
    let failure = ended.unwrap_err();
    assert_eq!(failure.kind, Kind::Lost, "{:?}", failure.chain());
    host.machines.switch(1, "poweron").await.unwrap();
    carry_out(&doors, plan(&doors, &last).await).await.unwrap();
    assert!(plan(&doors, &last).await.is_empty());
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_lets_in_nobody_else_and_says_what_to_do() {
    if !hosts_are_asked_for() {
        return;
    }
    // The first boot takes a while after sshd is up: looking waits for it.
    let host =
        Bare::boot("deploy", serde_json::json!({ "runcmd": [["sh", "-c", "sleep 6; touch /etc/booted"]] })).await;
    let doors = host.world.doors();
    let file = [host.file("/etc/booted", "")];
    assert!(matches!(observe(&doors, &file).await.unwrap()[0], Observed::Present { .. }), "the first boot was over");
    let (connections, scripts) = doors.ssh.used();
    assert_eq!(scripts, 1);
    assert!(connections <= 8, "sshd shuts out those who knock too often: {connections} connections");

    let try_with = async |change: &dyn Fn(&mut HostAt), keep: &dyn Fn(&mut World)| -> Failure {
        let mut world = World::with(None).await;
        std::fs::copy(host.world.folder.path().join("key"), world.folder.path().join("key")).unwrap();
        keep(&mut world);
        let mut resource = host.file("/etc/booted", "");
        change(resource.on.as_mut().unwrap());
        let seen = observe(&world.doors(), &[resource]).await;
        seen.expect_err("not let in")
    };
    let as_is = |_: &mut World| {};
    // Another host key than the known one: the end, at once, before anything is sent.
    let other = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
    let wrong = other.fingerprint(HashAlg::Sha256).to_string();
    let failure = try_with(&|at| at.host_key = wrong.as_str().into(), &as_is).await;
    assert_eq!(failure.kind, Kind::Human);
    assert!(failure.message.contains("is not the one it should be") && failure.chain().join(" ").contains(&wrong));
    let log = host.console("journalctl -u ssh --no-pager | tail -n 3").await;
    assert!(!log.contains("authenticating user") || log.contains("[preauth]"), "no login was tried: {log}");

    // An account that is not there: told as a refused login, and not tried with other keys.
    let failure = try_with(&|at| at.user = "nobody-here".into(), &as_is).await;
    assert!(failure.message.contains("refused nobody-here the login"), "{:?}", failure.chain());

    // A key with a passphrase: known before anything is tried; with the passphrase it works.
    let locked = |world: &mut World, passphrase: Option<&str>| {
        let path = world.folder.path().join("key");
        let key = PrivateKey::read_openssh_file(&path).unwrap();
        let locked = key.encrypt(&mut rand_core::OsRng, "open sesame").unwrap();
        locked.write_openssh_file(&path, LineEnding::LF).unwrap();
        if let Some(passphrase) = passphrase {
            world.secrets.0.lock().unwrap().insert("ssh-key-passphrase".into(), passphrase.into());
        }
    };
    let failure = try_with(&|_| {}, &|world| locked(world, None)).await;
    assert!(failure.message.contains("protected by a passphrase"), "{:?}", failure.chain());
    assert!(failure.hint.unwrap().contains("ssh-add"));
    let failure = try_with(&|_| {}, &|world| locked(world, Some("open barley"))).await;
    assert!(failure.message.contains("wrong passphrase") && !failure.chain().join(" ").contains("barley"));
    let mut world = World::with(None).await;
    std::fs::copy(host.world.folder.path().join("key"), world.folder.path().join("key")).unwrap();
    locked(&mut world, Some("open sesame"));
    assert!(observe(&world.doors(), &file).await.is_ok());

    // sudo that asks for a password: said in words.
    host.console("echo 'deploy ALL=(ALL) ALL' >/etc/sudoers.d/90-cloud-init-users").await;
    let failure = observe(&host.world.doors(), &file).await.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (Kind::Human, "sudo on the host asks for a password"));
    host.close().await;
}

#[test]
fn a_key_is_chosen_by_what_it_is_among_many() {
    use landfall::doors::identity::{Identity, find};
    let folder = tempfile::tempdir().unwrap();
    let vault = crate::world::Vault(Default::default());
    for number in 0..12 {
        new_key(&folder.path().join(format!("id_{number:02}")));
    }
    std::fs::write(folder.path().join("known_hosts"), "rubbish \u{0} @@@\n").unwrap();
    std::fs::write(folder.path().join("config"), [0xff, 0xfe, 0x00]).unwrap();
    let wanted = std::fs::read_to_string(folder.path().join("id_07.pub")).unwrap();
    let found = find(&[wanted.trim().to_owned()], None, Some(folder.path()), &[], &vault).unwrap();
    assert!(matches!(found, Identity::File(path, None) if path == folder.path().join("id_07")));

    // Only the agent has it, among others.
    let other = tempfile::tempdir().unwrap();
    let blobs: Vec<Vec<u8>> = (0..12)
        .map(|n| std::fs::read_to_string(folder.path().join(format!("id_{n:02}.pub"))).unwrap())
        .map(|text| ssh_key::PublicKey::from_openssh(&text).unwrap().to_bytes().unwrap())
        .collect();
    let found = find(&[wanted.trim().to_owned()], None, Some(other.path()), &blobs, &vault).unwrap();
    assert!(matches!(found, Identity::Agent(blob) if blob == blobs[7]));
    assert_eq!(find(&[wanted], None, Some(Path::new("/nowhere")), &[], &vault).unwrap_err().kind, Kind::Human);
}
