//! Every measure, in the order in which they are taken.

use crate::model::machine::{TakeUp, User, digest};
use crate::model::resource::{Resource, Spec};
use crate::model::system::System;
use crate::model::tuning::Mount;
use crate::steps::hardening::{Ground, Profile, sshd};

/// One measure.
pub struct Measure {
    /// What playbooks call it.
    pub name: &'static str,
    /// The first profile that has it.
    pub since: Profile,
    /// What it does, for the table in the documents.
    pub does: &'static str,
    /// What it protects from, in one sentence.
    pub protects: &'static str,
    /// Which judge's tests look at it.
    pub judged_by: &'static str,
    pub(super) make: fn(&Ground<'_>) -> Vec<Resource>,
}

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../../templates/hardening/", $name))
    };
}

/// All of them.
pub static MEASURES: &[Measure] = &[
    Measure {
        name: "time",
        since: Profile::Baseline,
        does: "systemd-timesyncd on a made server (one that was there before keeps what it has), and the time zone",
        protects: "Logs nobody can put in order, certificates that seem to have run out, and one-time codes that fail.",
        judged_by: "Lynis TIME-3104; OpenSCAP service_timesyncd",
        make: time,
    },
    Measure {
        name: "accounts",
        since: Profile::Baseline,
        does: "accounts of those who administer never expire and are not locked; sensible rules for all others",
        protects: "A door that locks itself: accounts that age shut out their keys, too, some day when it hurts.",
        judged_by: "Lynis AUTH-9286, AUTH-9282, AUTH-9230",
        make: accounts,
    },
    Measure {
        name: "sudo",
        since: Profile::Baseline,
        does: "sudo in a terminal of its own, with a clean environment",
        protects: "A program that keeps the terminal after sudo has ended, or that slips into root's search path.",
        judged_by: "OpenSCAP sudo_add_use_pty, sudo_add_ignore_dot",
        make: sudo,
    },
    Measure {
        name: "umask",
        since: Profile::Baseline,
        does: "what people make in their shells is not for everybody",
        protects: "Files that other accounts of the server can read because nobody thought of it.",
        judged_by: "Lynis AUTH-9328; OpenSCAP accounts_umask",
        make: umask,
    },
    Measure {
        name: "core-dumps",
        since: Profile::Baseline,
        does: "no core dumps, neither by limits nor by systemd",
        protects: "Keys and passwords left in a file when a program crashes.",
        judged_by: "Lynis KRNL-5820; OpenSCAP disable_users_coredumps",
        make: core_dumps,
    },
    Measure {
        name: "kernel",
        since: Profile::Baseline,
        does: "settings of the kernel that hide its insides and restrict debugging",
        protects: "A foothold without rights that grows into root by way of the kernel.",
        judged_by: "Lynis KRNL-6000; OpenSCAP sysctl_kernel_*",
        make: kernel,
    },
    Measure {
        name: "network",
        since: Profile::Baseline,
        does: "settings of the network that leave Docker working: no redirects, no source routes, sources checked",
        protects: "Neighbours that bend routes towards themselves or send under false addresses.",
        judged_by: "Lynis KRNL-6000; OpenSCAP sysctl_net_*",
        make: network,
    },
    Measure {
        name: "modules",
        since: Profile::Strict,
        does: "protocols, file systems and buses a server does not use cannot be loaded",
        protects: "Rarely read code in the kernel that any local program can call into being.",
        judged_by: "Lynis NETW-3200, USB-1000; OpenSCAP kernel_module_*_disabled",
        make: modules,
    },
    Measure {
        name: "shared-memory",
        since: Profile::Baseline,
        does: "nothing in /dev/shm can be run",
        protects: "The usual hiding place of programs that came in through a hole.",
        judged_by: "Lynis FILE-6374; OpenSCAP mount_option_dev_shm_*",
        make: shared_memory,
    },
    Measure {
        name: "process-hiding",
        since: Profile::Strict,
        does: "accounts see their own processes only",
        protects: "Secrets in other accounts' command lines, and a look around after a break-in.",
        judged_by: "Lynis FILE-6344; OpenSCAP proc hidepid",
        make: process_hiding,
    },
    Measure {
        name: "apparmor",
        since: Profile::Baseline,
        does: "AppArmor with the profiles of the distribution",
        protects: "A daemon with a hole that reads and writes what it never needed.",
        judged_by: "Lynis MACF-6208; OpenSCAP package_apparmor_installed",
        make: apparmor,
    },
    Measure {
        name: "audit",
        since: Profile::Strict,
        does: "auditd, watching accounts, sudo, sshd, time, modules and Docker",
        protects: "A break-in of which nobody can say afterwards what was done.",
        judged_by: "Lynis ACCT-9628; docker-bench 1.1.3 to 1.1.18; OpenSCAP audit_rules_*",
        make: audit,
    },
    Measure {
        name: "upgrades",
        since: Profile::Baseline,
        does: "security upgrades by themselves, a restart in its window where one is needed, Docker's packages left out",
        protects: "Holes that are known and mended everywhere but here.",
        judged_by: "Lynis PKGS-7420; OpenSCAP package_unattended-upgrades",
        make: upgrades,
    },
    Measure {
        name: "bans",
        since: Profile::Baseline,
        does: "fail2ban, reading the journal, in front of sshd",
        protects: "Guessing by the thousand, and the noise it leaves in the logs.",
        judged_by: "Lynis TOOL-5102, TOOL-5104",
        make: bans,
    },
    Measure {
        name: "logs",
        since: Profile::Baseline,
        does: "a journal that outlives restarts and cannot fill the disk",
        protects: "Traces lost with a restart, and a server that stops because its disk is full of them.",
        judged_by: "OpenSCAP journald_storage",
        make: logs,
    },
    Measure {
        name: "banner",
        since: Profile::Strict,
        does: "a legal notice before each login",
        protects: "The excuse that nobody said it was forbidden, in places where that counts.",
        judged_by: "Lynis BANN-7126, BANN-7130",
        make: banner,
    },
    Measure {
        name: "permissions",
        since: Profile::Strict,
        does: "folders of cron and sudo for root only",
        protects: "Other accounts that read when and how root's own jobs run.",
        judged_by: "Lynis FILE-7524; OpenSCAP file_permissions_cron_*",
        make: permissions,
    },
    Measure {
        name: "package-checks",
        since: Profile::Strict,
        does: "tools that compare installed packages with what they should be, and tell what needs a restart",
        protects: "Programs exchanged by somebody, and services that still run the old code after an upgrade.",
        judged_by: "Lynis PKGS-7370, PKGS-7394, DEB-0811, DEB-0831",
        make: package_checks,
    },
    Measure {
        name: "file-integrity",
        since: Profile::Strict,
        does: "AIDE: the digests of all programs and settings, compared once a day; what differs is told once, in the journal",
        protects: "A back door put into a file nobody looks at.",
        judged_by: "Lynis FINT-4350, FINT-4402; OpenSCAP package_aide_installed",
        make: file_integrity,
    },
    Measure {
        name: "idle-sessions",
        since: Profile::Strict,
        does: "a shell at which nobody types for ten minutes ends",
        protects: "A terminal left open on somebody else's desk.",
        judged_by: "Lynis SHLL-6220; OpenSCAP accounts_tmout",
        make: idle_sessions,
    },
    Measure {
        name: "sshd",
        since: Profile::Baseline,
        does: "keys only, no root, present-day algorithms, no forwarding that is not needed",
        protects: "Guessed and stolen passwords, recorded traffic decrypted some day, and tunnels through your server.",
        judged_by: "ssh-audit (all); Lynis SSH-7408; OpenSCAP sshd_*",
        make: sshd_settings,
    },
];

fn time(ground: &Ground<'_>) -> Vec<Resource> {
    let mut all = ground.packages(&["tzdata"]);
    // A machine that was there before may have a time server of its own, which cannot stand beside another.
    if ground.host.made_by_us {
        all.extend(ground.packages(&["systemd-timesyncd"]));
        all.push(ground.service("systemd-timesyncd.service", &[], TakeUp::Restart));
    }
    all.push(ground.time_zone());
    all
}

fn accounts(ground: &Ground<'_>) -> Vec<Resource> {
    let mut all = ground.packages(&["libpam-pwquality", "cracklib-runtime"]);
    // In the file itself: auditors do not look at its drop-ins.
    let mut quality = vec![("minlen", "= 15"), ("minclass", "= 4"), ("maxrepeat", "= 3")];
    quality.extend([("dcredit", "= -1"), ("ucredit", "= -1"), ("lcredit", "= -1"), ("ocredit", "= -1")]);
    all.push(ground.settings("/etc/security/pwquality.conf", &quality));
    let mut values = vec![("PASS_MIN_DAYS", "1"), ("PASS_MAX_DAYS", "365"), ("PASS_WARN_AGE", "7")];
    values.extend([("ENCRYPT_METHOD", "YESCRYPT"), ("LOGIN_RETRIES", "3"), ("LOGIN_TIMEOUT", "60")]);
    values.extend([("SHA_CRYPT_MIN_ROUNDS", "65536"), ("SHA_CRYPT_MAX_ROUNDS", "65536")]);
    all.push(ground.settings("/etc/login.defs", &values));
    // A made server's admin is looked after by the step `server`.
    if !ground.host.made_by_us && ground.host.user != "root" {
        let user = User { name: ground.host.user.clone(), shell: None, groups: vec![] };
        all.push(ground.on_host("user", &user.name.clone(), Spec::User(user)));
    }
    all
}

fn sudo(ground: &Ground<'_>) -> Vec<Resource> {
    let check: &[&str] = &["visudo", "--check", "--strict", "--file", "{}"];
    let mut all = ground.packages(&["sudo"]);
    all.push(ground.checked("/etc/sudoers.d/00-landfall", template!("sudoers"), 0o440, Some(check)));
    all
}

fn umask(ground: &Ground<'_>) -> Vec<Resource> {
    vec![ground.file("/etc/profile.d/landfall-umask.sh", template!("umask.sh"))]
}

fn core_dumps(ground: &Ground<'_>) -> Vec<Resource> {
    vec![
        ground.file("/etc/security/limits.d/90-landfall.conf", template!("limits.conf")),
        ground.file("/etc/systemd/coredump.conf.d/90-landfall.conf", template!("coredump.conf")),
        ground.sysctl("core-dumps", &[("fs.suid_dumpable", "0"), ("kernel.core_uses_pid", "1")]),
    ]
}

fn kernel(ground: &Ground<'_>) -> Vec<Resource> {
    let ptrace = if ground.strict() { "2" } else { "1" };
    let mut settings = vec![
        ("kernel.kptr_restrict", "2"),
        ("kernel.dmesg_restrict", "1"),
        ("kernel.sysrq", "0"),
        ("kernel.perf_event_paranoid", "3"),
        ("kernel.unprivileged_bpf_disabled", "1"),
        ("kernel.yama.ptrace_scope", ptrace),
        ("kernel.randomize_va_space", "2"),
        ("kernel.kexec_load_disabled", "1"),
        ("fs.protected_fifos", "2"),
        ("fs.protected_hardlinks", "1"),
        ("fs.protected_regular", "2"),
        ("fs.protected_symlinks", "1"),
        ("net.core.bpf_jit_harden", "2"),
        ("vm.mmap_min_addr", "65536"),
    ];
    if ground.strict() {
        // A kernel that has stumbled starts again after ten seconds, rather than going on in an unknown state.
        settings.extend([("dev.tty.ldisc_autoload", "0"), ("kernel.panic_on_oops", "1"), ("kernel.panic", "10")]);
        settings.extend([("kernel.perf_cpu_time_max_percent", "1"), ("kernel.perf_event_max_sample_rate", "1")]);
    }
    vec![ground.sysctl("kernel", &settings)]
}

fn network(ground: &Ground<'_>) -> Vec<Resource> {
    let mut settings: Vec<(String, &str)> = vec![];
    for scope in ["all", "default"] {
        for (key, value) in [
            ("accept_redirects", "0"),
            ("accept_source_route", "0"),
            ("log_martians", "1"),
            ("rp_filter", "1"),
            ("secure_redirects", "0"),
            ("send_redirects", "0"),
            ("shared_media", "0"),
        ] {
            settings.push((format!("net.ipv4.conf.{scope}.{key}"), value));
        }
        for key in ["accept_redirects", "accept_source_route"] {
            settings.push((format!("net.ipv6.conf.{scope}.{key}"), "0"));
        }
    }
    for (key, value) in [
        ("conf.all.accept_local", "0"),
        ("conf.all.arp_filter", "0"),
        ("ip_local_port_range", "32768 65535"),
        ("icmp_echo_ignore_broadcasts", "1"),
        ("icmp_ignore_bogus_error_responses", "1"),
        ("tcp_rfc1337", "1"),
        ("tcp_syncookies", "1"),
    ] {
        settings.push((format!("net.ipv4.{key}"), value));
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    vec![ground.sysctl("network", &settings)]
}

/// Never squashfs or overlay (snaps, Docker), nor udf and vfat (a cloud's configuration drive).
const MODULES: &[&str] = &[
    "cramfs",
    "freevxfs",
    "hfs",
    "hfsplus",
    "jffs2",
    "dccp",
    "rds",
    "sctp",
    "tipc",
    "atm",
    "can",
    "ax25",
    "netrom",
    "x25",
    "rose",
    "decnet",
    "appletalk",
    "ipx",
    "firewire-core",
    "firewire-ohci",
    "firewire-sbp2",
    "thunderbolt",
    "usb-storage",
    "bluetooth",
    "btusb",
];

fn modules(ground: &Ground<'_>) -> Vec<Resource> {
    // A machine that was there before may well run from a USB disk.
    let usable = |name: &&&str| ground.host.made_by_us || **name != "usb-storage";
    let line = |text: String, name: &&str| text + "blacklist " + name + "\ninstall " + name + " /bin/false\n";
    let text = MODULES.iter().filter(usable).fold("# Written by Landfall.\n".to_owned(), line);
    vec![ground.file("/etc/modprobe.d/landfall.conf", &text)]
}

fn shared_memory(ground: &Ground<'_>) -> Vec<Resource> {
    let options = vec!["nodev", "noexec", "nosuid"];
    vec![ground.mount(Mount { what: "tmpfs", at: "/dev/shm", kind: "tmpfs", options })]
}

fn process_hiding(ground: &Ground<'_>) -> Vec<Resource> {
    // systemd-logind must see all processes to end sessions.
    let mut all = ground.command("proc-group", "groupadd --force --system proc", None);
    let dropin = "/etc/systemd/system/systemd-logind.service.d/landfall.conf";
    all.push(ground.file(dropin, template!("logind.conf")));
    all.push(ground.service("systemd-logind.service", &[dropin], TakeUp::Restart));
    let options = vec!["gid=proc", "hidepid=invisible", "nodev", "noexec", "nosuid"];
    all.push(ground.mount(Mount { what: "proc", at: "/proc", kind: "proc", options }));
    all
}

fn apparmor(ground: &Ground<'_>) -> Vec<Resource> {
    let mut all = ground.packages(&["apparmor", "apparmor-utils"]);
    all.push(ground.service("apparmor.service", &[], TakeUp::Reload));
    all
}

fn audit(ground: &Ground<'_>) -> Vec<Resource> {
    let rules = "/etc/audit/rules.d/90-landfall.rules";
    let mut all = ground.packages(&["auditd"]);
    all.push(ground.checked(rules, template!("audit.rules"), 0o640, None));
    all.push(ground.kernel_service("auditd.service"));
    // Loads the rules without restarting the daemon; where the kernel's audit is another machine's, they wait.
    let digest = digest(template!("audit.rules").as_bytes());
    all.extend(ground.command(
        "audit-rules",
        &format!("augenrules --load >/dev/null 2>&1 || : # rules {digest}"),
        None,
    ));
    all
}

fn upgrades(ground: &Ground<'_>) -> Vec<Resource> {
    let reboot = ground.answers.reboot.as_str();
    let (reboots, at) = if reboot == "never" { ("false", "04:30") } else { ("true", reboot) };
    let origin = match ground.host.system {
        System::Debian12 | System::Debian13 => {
            "origin=Debian,codename=${distro_codename}-security,label=Debian-Security"
        }
        System::Ubuntu2404 => {
            "origin=Ubuntu,archive=${distro_codename}-security\"; \"origin=UbuntuESM,archive=${distro_codename}-infra-security\"; \
             \"origin=UbuntuESMApps,archive=${distro_codename}-apps-security"
        }
    };
    // What somebody else has chosen on a machine that was there before stays, and ours comes to it.
    let clear = match ground.host.made_by_us {
        true => "#clear Unattended-Upgrade::Origins-Pattern;\n#clear Unattended-Upgrade::Allowed-Origins;\n",
        false => "",
    };
    let text = template!("unattended-upgrades.conf")
        .replace("@CLEAR@\n", clear)
        .replace("@ORIGIN@", origin)
        .replace("@REBOOT@", reboots)
        .replace("@AT@", at);
    let mut all = ground.packages(&["unattended-upgrades"]);
    all.push(ground.file("/etc/apt/apt.conf.d/52landfall-upgrades", &text));
    all.push(ground.service("unattended-upgrades.service", &[], TakeUp::Restart));
    all.push(ground.service("apt-daily-upgrade.timer", &[], TakeUp::Restart));
    all
}

fn bans(ground: &Ground<'_>) -> Vec<Resource> {
    // Where somebody else may have made rules of their own, they stay in force.
    let jail = if ground.host.made_by_us { "/etc/fail2ban/jail.local" } else { "/etc/fail2ban/jail.d/landfall.conf" };
    let mut all = ground.packages(&["fail2ban", "python3-systemd", "nftables"]);
    all.push(ground.file(jail, &template!("jail.conf").replace("@PORT@", &ground.host.port.to_string())));
    all.push(ground.service("fail2ban.service", &[jail], TakeUp::Restart));
    all
}

fn logs(ground: &Ground<'_>) -> Vec<Resource> {
    let path = "/etc/systemd/journald.conf.d/90-landfall.conf";
    let mut all = vec![ground.file(path, template!("journald.conf"))];
    all.push(ground.service("systemd-journald.service", &[path], TakeUp::Restart));
    all
}

fn banner(ground: &Ground<'_>) -> Vec<Resource> {
    ["/etc/issue", "/etc/issue.net"].map(|path| ground.file(path, template!("issue"))).into()
}

fn permissions(ground: &Ground<'_>) -> Vec<Resource> {
    let folders = ["/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly", "/etc/cron.monthly", "/etc/cron.weekly"];
    let mut all: Vec<Resource> = folders.iter().map(|path| ground.directory(path, 0o700)).collect();
    all.push(ground.directory("/etc/sudoers.d", 0o750));
    all
}

fn package_checks(ground: &Ground<'_>) -> Vec<Resource> {
    let mut all = ground.packages(&["debsums", "needrestart", "libpam-tmpdir", "apt-listchanges"]);
    all.push(ground.file("/etc/default/debsums", "# Written by Landfall.\nCRON_CHECK=weekly\n"));
    all.push(ground.file("/etc/needrestart/conf.d/90-landfall.conf", template!("needrestart.conf")));
    all
}

fn file_integrity(ground: &Ground<'_>) -> Vec<Resource> {
    let timer = "/etc/systemd/system/landfall-aide.timer";
    let mut all = ground.packages(&["aide"]);
    all.push(ground.directory("/var/lib/landfall/aide", 0o700));
    all.push(ground.file("/etc/aide/landfall.conf", template!("aide.conf")));
    all.push(ground.file("/etc/systemd/system/landfall-aide.service", template!("aide.service")));
    all.push(ground.file(timer, template!("aide.timer")));
    all.push(ground.service("landfall-aide.timer", &[timer], TakeUp::Restart));
    all
}

fn idle_sessions(ground: &Ground<'_>) -> Vec<Resource> {
    vec![ground.file("/etc/profile.d/landfall-idle.sh", template!("idle.sh"))]
}

/// Last, so that everything it relies on is in place, and what it may shut out is already proved.
fn sshd_settings(ground: &Ground<'_>) -> Vec<Resource> {
    let host = ground.host;
    let mut all = vec![];
    if ground.strict() {
        // On a host that was there before, somebody may know it by its key.
        let make = if host.made_by_us { template!("rsa-host-key") } else { template!("rsa-host-key-if-none") };
        all.extend(ground.command("rsa-host-key", make, Some("/etc/ssh/ssh_host_rsa_key")));
        if host.system != System::Debian13 {
            all.extend(ground.command("moduli", template!("moduli"), None));
        }
    }
    let spec = sshd::settings(host.system, ground.answers.profile, &host.user, host.made_by_us, ground.has("banner"));
    all.push(ground.on_host("sshd", "settings", Spec::Sshd(spec)));
    all
}
