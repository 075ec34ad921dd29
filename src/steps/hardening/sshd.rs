//! What sshd shall be, by release and profile. Lists are exactly those that ssh-audit's policies for hardened
//! servers ask for (version 3.9.0), in their order.

use crate::model::access::Sshd;
use crate::model::system::System;
use crate::steps::hardening::Profile;

/// What sshd's lists are on a release: as old clients still need them, and as auditors ask for them.
struct Lists {
    kex: [&'static str; 2],
    macs: &'static str,
}

const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes192-ctr,\
                       aes128-gcm@openssh.com,aes128-ctr";
const HOST_KEY_ALGORITHMS: &str = "sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,\
                                   rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,\
                                   sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256";
const MACS_512_FIRST: &str = "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com";
const MACS_256_FIRST: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com";

fn lists(system: System) -> Lists {
    match system {
        System::Debian13 => Lists {
            kex: [
                "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,\
                 curve25519-sha256@libssh.org",
                "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com",
            ],
            macs: MACS_512_FIRST,
        },
        System::Debian12 => Lists {
            kex: [
                "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,\
                 curve25519-sha256@libssh.org",
                "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,\
                 curve25519-sha256@libssh.org,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,\
                 diffie-hellman-group-exchange-sha256",
            ],
            macs: MACS_256_FIRST,
        },
        System::Ubuntu2404 => Lists {
            kex: [
                "sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org",
                "sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,\
                 diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512",
            ],
            macs: MACS_512_FIRST,
        },
    }
}

/// The settings, for the account `user` that must always get in. On a host that was there before, other
/// accounts may log in, too.
pub(super) fn settings(system: System, profile: Profile, user: &str, made_by_us: bool, banner: bool) -> Sshd {
    let strict = profile == Profile::Strict;
    let lists = lists(system);
    let root = if user == "root" { "prohibit-password" } else { "no" };
    let pick = |baseline: &'static str, hard: &'static str| if strict { hard } else { baseline };
    let mut settings = vec![
        ("HostKey", "/etc/ssh/ssh_host_ed25519_key"),
        ("KexAlgorithms", lists.kex[usize::from(strict)]),
        ("Ciphers", CIPHERS),
        ("MACs", lists.macs),
        ("HostKeyAlgorithms", HOST_KEY_ALGORITHMS),
        ("RequiredRSASize", "3072"),
        ("PermitRootLogin", root),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("PermitEmptyPasswords", "no"),
        ("AuthenticationMethods", "publickey"),
        ("UsePAM", "yes"),
        ("MaxAuthTries", pick("4", "3")),
        ("MaxSessions", pick("10", "4")),
        ("MaxStartups", "10:30:60"),
        ("LoginGraceTime", pick("60", "30")),
        ("ClientAliveInterval", "300"),
        ("ClientAliveCountMax", "2"),
        ("TCPKeepAlive", pick("yes", "no")),
        ("X11Forwarding", "no"),
        ("AllowAgentForwarding", "no"),
        ("AllowTcpForwarding", pick("local", "no")),
        ("PermitTunnel", "no"),
        ("PermitUserEnvironment", "no"),
        ("Compression", "no"),
        ("LogLevel", "VERBOSE"),
        ("DebianBanner", "no"),
    ];
    if strict {
        settings.insert(1, ("HostKey", "/etc/ssh/ssh_host_rsa_key"));
    }
    if banner {
        settings.push(("Banner", "/etc/issue.net"));
    }
    let mut settings: Vec<(String, String)> =
        settings.into_iter().map(|(keyword, value)| (keyword.to_owned(), value.to_owned())).collect();
    if made_by_us {
        settings.push(("AllowUsers".to_owned(), user.to_owned()));
    }
    Sshd { path: "/etc/ssh/sshd_config.d/00-landfall.conf".to_owned(), settings }
}
