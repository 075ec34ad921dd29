use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use landfall::model::machine::Package;
use landfall::model::resource::{Resource, Spec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bare::{Bare, carry_out, hosts_are_asked_for, observe, plan};

fn package(host: &Bare, name: &str) -> [Resource; 1] {
    [host.resource("package", name, Spec::Package(Package { name: name.into(), instead: &[] }))]
}

/// A proxy to the distribution's mirror that answers the first `refusals` requests with 503.
async fn grumpy_mirror(refusals: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut visitor, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let length = visitor.read(&mut request).await.unwrap_or_default();
                if number < refusals {
                    let refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = visitor.write_all(refusal.as_bytes()).await;
                    return;
                }
                // The first line says where to: GET http://MIRROR/PATH HTTP/1.1.
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let host = text.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
                if let Ok(mut mirror) = TcpStream::connect((host, 80)).await
                    && mirror.write_all(&request[..length]).await.is_ok()
                {
                    let _ = tokio::io::copy_bidirectional(&mut visitor, &mut mirror).await;
                }
            });
        }
    });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_for() {
    if !hosts_are_asked_for() {
        return;
    }
    // Another program holds dpkg's lock for a minute.
    let locked = async {
        let host = Bare::boot("deploy", json!({})).await;
        let doors = host.world.doors();
        host.console("nohup flock /var/lib/dpkg/lock-frontend sleep 60 >/dev/null 2>&1 & sleep 1").await;
        carry_out(&doors, plan(&doors, &package(&host, "tree")).await).await.expect("it waits");
        assert!(plan(&doors, &package(&host, "tree")).await.is_empty());
        host.close().await;
    };
    // The first boot is still going on, and a mirror that is overloaded for a moment.
    let slow = async {
        let host =
            Bare::boot("deploy", json!({ "runcmd": [["sleep", "12"], ["touch", "/etc/first-boot-is-over"]] })).await;
        let doors = host.world.doors();
        observe(&doors, &package(&host, "tree")).await.unwrap();
        assert_eq!(
            host.console("ls /etc/first-boot-is-over").await.trim(),
            "/etc/first-boot-is-over",
            "it was waited for"
        );
        let (port, asked) = grumpy_mirror(2).await;
        let gateway = host.at.address.to_string().rsplit_once('.').unwrap().0.to_owned() + ".1";
        host.console(&format!(
            "echo 'Acquire::http::Proxy \"http://{gateway}:{port}\";' >/etc/apt/apt.conf.d/99mirror"
        ))
        .await;
        carry_out(&doors, plan(&doors, &package(&host, "tree")).await).await.expect("503 twice is tried again");
        assert!(asked.load(Ordering::SeqCst) > 2, "the mirror was asked");
        // /tmp does not let programs run, here and in every other test on a local host.
        assert!(host.console("grep ' /tmp ' /proc/mounts").await.contains("noexec"));
        host.close().await;
    };
    tokio::join!(locked, slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_said_with_a_hint_and_the_next_run_converges() {
    if !hosts_are_asked_for() {
        return;
    }
    let host = Bare::boot("deploy", json!({})).await;
    let doors = host.world.doors();
    let fails = async |want: &[Resource], expected: &str| {
        let failure = carry_out(&doors, plan(&doors, want).await).await.expect_err(expected);
        let hint = failure.hint.clone().unwrap_or_default();
        assert!(hint.contains(expected), "{expected}: {:?} / {hint}", failure.chain());
    };
    let goes_well = async |want: &[Resource]| {
        carry_out(&doors, plan(&doors, want).await).await.expect("it converges");
        assert!(plan(&doors, want).await.is_empty());
    };

    // The disk is full.
    host.console(
        "mkdir -p /srv/full && mount -t tmpfs -o size=64k none /srv/full && head -c 60000 /dev/zero >/srv/full/ballast",
    )
    .await;
    let file = [host.file("/srv/full/file", "x".repeat(20_000))];
    fails(&file, "make room on the host").await;
    assert_eq!(host.console("ls /srv/full").await.trim(), "ballast", "no half of a file stands there");
    host.console("rm /srv/full/ballast").await;
    goes_well(&file).await;

    // Names do not resolve: not the mirror's, nor the host's own.
    host.console("cp /etc/resolv.conf /root/resolv.conf; echo nameserver 192.0.2.1 >/etc/resolv.conf; echo 'options timeout:1 attempts:1' >>/etc/resolv.conf").await;
    fails(&package(&host, "tree"), "look at its DNS and routes").await;
    host.console(
        "cat /root/resolv.conf >/etc/resolv.conf; hostname nobody-knows-me; echo 127.0.0.1 localhost >/etc/hosts",
    )
    .await;
    goes_well(&package(&host, "tree")).await;

    // The clock is wrong, as far as programs can see (the kernel's own cannot be set from a container). A day may
    // go unnoticed by apt, which then does its work; two months do not.
    goes_well(&package(&host, "faketime")).await;
    host.console("echo -60d >/etc/faketimerc; ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/etc/ld.so.preload; rm -rf /var/lib/apt/lists/*; date").await;
    fails(&package(&host, "jq"), "is the host's clock right?").await;
    host.console("rm /etc/ld.so.preload").await;
    goes_well(&package(&host, "jq")).await;

    // No IPv6 at all.
    host.console("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1").await;
    goes_well(&package(&host, "pv")).await;
    host.close().await;
}
