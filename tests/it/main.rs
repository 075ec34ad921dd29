//! The one test binary. New tests go into the module whose sentence fits.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, which is what it is for")]

/// The program itself, from outside: arguments, exit codes, output, the lock.
mod binary;
/// The official command-line client of Hetzner against our simulator.
mod hcloud;
/// The provider `hetzner` against the simulator, on good days and bad ones; every exchange is held against
/// the official specification.
mod hetzner;
/// Real local hosts: everything that needs systemd, sshd, Docker and Caddy.
mod hosts;
/// The official OpenAPI files, and how requests and answers are held against them.
mod openapi;
/// Tables of playbooks that must be refused, and why.
mod refused;
/// Answers in, resources out; every playbook we ship.
mod steps;
/// The house: layers, documents, lists that must not forget anything.
mod tidy;
/// What the tests have in common: a simulated cloud and a run of the engine.
mod world;
