//! The budgets: counts and bytes, which hold on any machine; times are only told.
use crate::peer::Peer;
use crate::server::{Server, TOKEN};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Idle connections for the memory of one: enough that the daemon's own pages do not count.
const CONNECTIONS: u64 = 5_000;
/// Fewer of those with TLS: each costs this program far more.
const TLS_CONNECTIONS: u64 = 2_000;
/// How long nothing must happen.
const QUIET: Duration = Duration::from_secs(20);
const STARTS: usize = 20;

/// The limits, and whether all that was told was below them.
struct Budget {
    limits: String,
    passed: bool,
}

impl Budget {
    fn read(path: &str) -> Budget {
        Budget { limits: std::fs::read_to_string(path).unwrap(), passed: true }
    }
    fn told(&mut self, name: &str, value: u64) {
        let line = self.limits.lines().find_map(|it| it.strip_prefix(name)?.trim_start().strip_prefix('='));
        let number = line.unwrap_or_else(|| panic!("no limit {name}")).split('#').next().unwrap();
        let limit: u64 = number.trim().replace('_', "").parse().unwrap();
        self.passed &= value <= limit;
        println!("{name:28} {value:>10}  of {limit:>10}  {}", if value <= limit { "ok" } else { "OVER" });
    }
}

pub fn run(gatewayd: &str, limits: &str) -> bool {
    let mut budget = Budget::read(limits);
    budget.told("binary_bytes", std::fs::metadata(gatewayd).unwrap().len());
    let server = Server::gatewayd(gatewayd);
    drop(Peer::connected(server.addr, TOKEN));
    wait(Duration::from_secs(2));
    let (pss, wake_ups) = (server.pss_kib(), server.wake_ups());
    budget.told("idle_anonymous_kib", server.anonymous_kib());
    budget.told("idle_pss_kib", pss);
    budget.told("threads", server.threads());
    wait(QUIET);
    budget.told("idle_wake_ups", server.wake_ups() - wake_ups);
    gatewayd::base::sys::raise_fd_limit();
    let peers: Vec<Peer> = (0..CONNECTIONS).map(|_| Peer::connected(server.addr, TOKEN)).collect();
    wait(Duration::from_secs(2));
    budget.told("connection_bytes", (server.pss_kib() - pss) * 1024 / CONNECTIONS);
    drop(peers);
    drop(server);
    budget.told("tls_connection_bytes", tls_connection_bytes(gatewayd));
    budget.passed &= telegram(gatewayd, limits);
    let mut starts: Vec<Duration> = (0..STARTS).map(|_| start(gatewayd)).collect();
    starts.sort();
    println!("{:28} {:>10.1?}  (told only)", "exec_to_hello_median", starts[STARTS / 2]);
    budget.passed
}

pub fn telegram(gatewayd: &str, limits: &str) -> bool {
    let mut budget = Budget::read(limits);
    let server = Server::gatewayd(gatewayd);
    wait(Duration::from_secs(2));
    let without_kib = server.anonymous_kib();
    drop(server);
    let cost = crate::telegram::measure(gatewayd, without_kib);
    budget.told("telegram_account_kib", cost.account_kib);
    budget.told("telegram_wake_ups_a_poll", cost.wake_ups_a_poll);
    budget.told("telegram_drain_kib", cost.drain_kib);
    println!("{:28} {:>10}  (told only)", "of the first thousand", cost.first_kib);
    budget.passed
}

fn tls_connection_bytes(gatewayd: &str) -> u64 {
    let server = Server::secure(gatewayd);
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(server.certificate()).unwrap();
    certificates.for_each(|it| roots.add(it.unwrap()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    drop(Peer::secure(server.addr, TOKEN, &config));
    wait(Duration::from_secs(2));
    let pss = server.pss_kib();
    let peers: Vec<Peer> = (0..TLS_CONNECTIONS).map(|_| Peer::secure(server.addr, TOKEN, &config)).collect();
    wait(Duration::from_secs(2));
    let bytes = (server.pss_kib() - pss) * 1024 / TLS_CONNECTIONS;
    drop(peers);
    bytes
}

fn start(gatewayd: &str) -> Duration {
    let at = Instant::now();
    let server = Server::gatewayd(gatewayd);
    Peer::connected(server.addr, TOKEN);
    at.elapsed()
}

/// Time has to pass here: the absence of events is what is measured.
fn wait(time: Duration) {
    std::thread::sleep(time);
}
