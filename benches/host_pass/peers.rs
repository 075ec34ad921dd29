//! The same sixty things in other people's tools: an ansible-core playbook with pipelining, and a pyinfra deploy.
//! Both find nothing to do, too.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall::model::machine::HostAt;
use landfall::model::resource::{Resource, Spec};
use serde_json::json;

const ROUNDS: usize = 3;

/// Runs both beside our own median, and prints how many times as long they take.
pub(crate) fn compare(folder: &Path, at: &HostAt, want: &[Resource], ours: Duration) {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    if !tools.join("ansible-playbook").exists() || !tools.join("pyinfra").exists() {
        println!("SKIPPED: ansible-core and pyinfra are not installed; `make bench` installs them");
        return;
    }
    let ssh = format!(
        "-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o ControlMaster=auto -o ControlPersist=60s",
        folder.join("known_hosts").display()
    );
    std::fs::write(folder.join("play.json"), ansible(want)).unwrap();
    std::fs::write(folder.join("deploy.py"), pyinfra(want)).unwrap();
    std::fs::write(
        folder.join("ansible.cfg"),
        "[defaults]\ninterpreter_python=/usr/bin/python3\ngather_facts=false\n[ssh_connection]\npipelining=true\n",
    )
    .unwrap();
    let key = folder.join("key").display().to_string();
    let (inventory, host) = (format!("{},", at.address), at.address.to_string());
    let known = folder.join("known_hosts").display().to_string();
    let ansible = vec![
        "ansible-playbook",
        "-i",
        &inventory,
        "--user",
        &at.user,
        "--private-key",
        &key,
        "--ssh-common-args",
        &ssh,
        "play.json",
    ];
    let known_option = format!("ssh_known_hosts_file={known}");
    let pyinfra = vec![
        "pyinfra",
        "--yes",
        "--ssh-user",
        &at.user,
        "--ssh-key",
        &key,
        "--data",
        &known_option,
        &host,
        "deploy.py",
    ];
    for (name, command, nothing) in
        [("ansible-core", ansible, "changed=0 "), ("pyinfra", pyinfra, "Grand total 60 - - 60")]
    {
        let run = || {
            let begun = Instant::now();
            let output = Command::new(tools.join(command[0]))
                .args(&command[1..])
                .current_dir(folder)
                .env("ANSIBLE_CONFIG", folder.join("ansible.cfg"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {said}");
            (begun.elapsed(), said)
        };
        // The first run may have something to adjust to its own taste.
        run();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let (took, said) = run();
            // In pyinfra's last table: operations, successes, errors, and those without a change.
            let said = said.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            assert!(said.contains(nothing), "{name} finds nothing to do: {said}");
            times.push(took);
        }
        let theirs = super::median(times);
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("{name:<15} {theirs:>8.1?}, {ratio:.0} times as long as landfall (median of {ROUNDS}, no delay)");
    }
}

fn ansible(want: &[Resource]) -> String {
    let task = |resource: &Resource| match &resource.spec {
        Spec::File(file) => json!({ "ansible.builtin.copy": {
            "dest": file.path, "content": file.content.to_string(), "owner": "root", "group": "root", "mode": "0644",
        }}),
        Spec::Directory(directory) => json!({ "ansible.builtin.file": {
            "path": directory.path, "state": "directory", "owner": "root", "group": "root", "mode": "0755",
        }}),
        Spec::Package(package) => json!({ "ansible.builtin.apt": { "name": package.name, "state": "present" } }),
        Spec::Service(service) => {
            json!({ "ansible.builtin.systemd_service": { "name": service.unit, "state": "started" } })
        }
        Spec::User(user) => json!({ "ansible.builtin.user": {
            "name": user.name, "shell": user.shell, "groups": user.groups, "append": true,
        }}),
        Spec::AuthorizedKey(key) => json!({ "ansible.builtin.lineinfile": {
            "path": format!("/home/{}/.ssh/authorized_keys", key.user), "line": key.key,
        }}),
        other => panic!("no task for {other:?}"),
    };
    let tasks: Vec<serde_json::Value> = want.iter().map(task).collect();
    json!([{ "hosts": "all", "become": true, "gather_facts": false, "tasks": tasks }]).to_string()
}

fn pyinfra(want: &[Resource]) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let mut deploy = "from io import StringIO\nfrom pyinfra.operations import apt, files, server, systemd\n".to_owned();
    for resource in want {
        let line = match &resource.spec {
            Spec::File(file) => format!(
                "files.put(src=StringIO({}), dest={}, user='root', group='root', mode='644', _sudo=True)",
                text(&file.content.to_string()),
                text(&file.path)
            ),
            Spec::Directory(directory) => {
                format!(
                    "files.directory(path={}, user='root', group='root', mode='755', _sudo=True)",
                    text(&directory.path)
                )
            }
            Spec::Package(package) => format!("apt.packages(packages=[{}], _sudo=True)", text(&package.name)),
            Spec::Service(service) => {
                format!("systemd.service(service={}, running=True, _sudo=True)", text(&service.unit))
            }
            Spec::User(user) => format!(
                "server.user(user={}, shell='/bin/sh', groups=['users'], append=True, _sudo=True)",
                text(&user.name)
            ),
            Spec::AuthorizedKey(key) => format!(
                "server.user_authorized_keys(user={}, public_keys=[{}], _sudo=True)",
                text(&key.user),
                text(&key.key)
            ),
            other => panic!("no operation for {other:?}"),
        };
        let _ = writeln!(deploy, "{line}");
    }
    deploy
}
