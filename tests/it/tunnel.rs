//! A way into a gateway with TLS for tests that speak without: what they have is played through rustls' client, in pieces.
use crate::harness::DEADLINE;
use gatewayd::base::sys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// A client's configuration that trusts the certificate of that file and no other.
pub fn trusting(cert: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    CertificateDer::pem_file_iter(cert).unwrap().for_each(|it| roots.add(it.unwrap()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Listens for ever on a port of its own; the sealed bytes go on in pieces of at most `cut`.
pub fn open(gateway: SocketAddr, cert: &Path, cut: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = trusting(cert);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            // What goes wrong on the way the test sees at its end.
            std::thread::spawn(move || {
                pump(&client, gateway, &config, cut).map_err(|_| client.shutdown(Shutdown::Both))
            });
        }
    });
    port
}

fn pump(
    mut client: &TcpStream,
    gateway: SocketAddr,
    config: &Arc<ClientConfig>,
    cut: usize,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(gateway)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.set_read_timeout(Some(DEADLINE))?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(config.clone(), name).unwrap();
    tls.set_buffer_limit(None);
    let (mut talks, mut buffer) = (true, vec![0; 64 * 1024]);
    loop {
        let mut sealed = vec![];
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        sealed.chunks(cut).try_for_each(|it| server.write_all(it))?;
        let hears = talks && !tls.is_handshaking();
        let [from_client, from_server] =
            sys::poll([hears.then(|| client.as_fd()), Some(server.as_fd())], DEADLINE.as_millis() as u64)?;
        if from_client {
            match client.read(&mut buffer)? {
                0 => {
                    talks = false;
                    tls.send_close_notify();
                }
                n => tls.writer().write_all(&buffer[..n])?,
            }
        }
        if from_server {
            let ended = tls.read_tls(&mut server)? == 0;
            let state = tls.process_new_packets().map_err(std::io::Error::other)?;
            let n = state.plaintext_bytes_to_read();
            let mut plain = vec![0; n];
            tls.reader().read_exact(&mut plain)?;
            client.write_all(&plain)?;
            if state.peer_has_closed() {
                return client.shutdown(Shutdown::Write);
            }
            if ended {
                // A cut, and no end: the test must see the difference.
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
