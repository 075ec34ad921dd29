//! The one test binary. New tests go into the module whose sentence fits.
#![expect(clippy::disallowed_types, reason = "tests start the program, and other people's, as a user would")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, which is what it is for")]

/// What a Supabase app keeps beside its own tables is backed up and comes back.
mod accounts;
/// Backups on real local hosts: what a drill finds, and that what opens them outlives everything.
mod backups;
/// Bad days of a host: locks, full disks, mirrors, clocks and names that do not work.
mod bad_days;
/// What tests on real local hosts have in common: a bare host, and a look or a change through the provider.
mod bare;
/// Bills against tables computed by hand.
mod bills;
/// The program itself, from outside: arguments, exit codes, output, the lock.
mod binary;
/// A whole run on a real local host with bad luck: no secret is found where it is not meant to be.
mod canaries;
/// Bad days by the hundred: kills at every moment, and faults by chance, against modelled hosts.
mod chaos;
/// Clients written by others against our simulators.
mod clients;
/// The provider `cloudflare` against its simulator: what is ours, what is not, and what the two do to each other.
mod cloudflare;
mod compose;
/// What every provider must do like all others, against its simulator: one suite, the same bad days for each.
mod contract;
/// The provider `digitalocean` against its simulator: whose a droplet, an address and a volume are.
mod digitalocean;
/// A disaster, rehearsed by the program itself: everything is lost, and comes back elsewhere.
mod disaster;
/// Servers that were there before: what runs on them is named before anything is changed, and nothing of it is hurt.
mod existing;
/// The wizard makes it real, with tokens typed in; afterwards there is nothing left to plan.
mod for_real;
/// Changes that would lock us out, on real local hosts: each is undone by the host itself.
mod guards;
/// The official command-line client of Hetzner against our simulator.
mod hcloud;
/// The provider `hetzner` against the simulator, on good days and bad ones; every exchange is held against
/// the official specification.
mod hetzner;
/// What is kept at home when the disk is full, the home cannot be written to, or another version was there.
mod home;
/// The provider `host` on real local hosts: every kind of thing, what goes wrong, and who is let in.
mod hosts;
/// Who a server is: keys swapped, born, vouched for; and `landfall ssh`.
mod identity;
/// Outside judges of hardened hosts: ssh-audit, Lynis, OpenSCAP, and a port scan.
mod judges;
/// The wizard is killed, resized and left in every chapter: nothing is lost, and the terminal is free.
mod killed;
/// The program is killed while it changes a real local host.
mod kills;
/// Two laptops with one playbook, at each cloud that keeps leases.
mod leases;
mod limits;
/// Random keys, hostile answers and changing sizes, on every page of the wizard.
mod mashing;
/// What people do by mistake in the wizard, and what must not come of it.
mod mistakes;
/// One changed word moves a server from one cloud to another.
mod moving;
/// A newcomer at a terminal: from `landfall` to a finished rehearsal, on the full screen and line by line.
mod names;
mod newcomer;
/// The official OpenAPI files, and how requests and answers are held against them.
mod openapi;
/// Tables of playbooks that must be refused, and why.
mod refused;
/// Every page of the wizard, drawn: in all sizes, with and without colours; and the pictures in the documents.
mod restores;
mod screens;
/// The wizard with nobody to ask: answers given beforehand; and the output in GitHub Actions.
mod scripted;
/// What tests of the wizard have in common: one on no terminal, walked to any page.
mod stage;
/// Answers in, resources out; every playbook we ship.
mod steps;
/// The provider `supabase` against its simulator, with a real PostgreSQL behind it.
mod supabase;
/// The program in a terminal of its own, as somebody sees it.
mod terminal;
/// The house: layers, documents, lists that must not forget anything.
mod tidy;
/// Tokens that go bad in the middle of a run.
mod tokens;
/// Pages of the wizard when the network, the token, the rights, the API or the stock is not as one hopes.
mod troubles;
/// The whole on a real local host: from nothing to a site, through bad luck, and back to nothing.
mod whole;
/// What the tests have in common: a simulated cloud and a run of the engine.
mod world;
