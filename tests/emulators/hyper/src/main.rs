//! The Hyper.sh cloud for tests: `hyper-emulator --dir DIR --podman SOCKET …`. Each signature, header, parameter and body is
//! checked; containers run on a Podman; floating IPs are addresses of the network namespace that it runs in.

mod account;
mod addresses;
mod answer;
mod bodies;
mod cloud;
mod containers;
mod control;
mod engine;
mod forward;
mod query;
mod routes;
mod signature;
mod volumes;

use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use account::Account;
use cloud::Cloud;
use engine::Engine;
use forward::Forwards;
use signature::Authority;

/// The Hyper.sh cloud for tests.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Its folder: `ca.pem`, `control.sock`
    #[arg(long)]
    dir: PathBuf,
    /// The socket of the Podman that runs the containers
    #[arg(long)]
    podman: PathBuf,
    /// The address of the API; becomes one of this network namespace
    #[arg(long, default_value = "209.177.87.1")]
    address: Ipv4Addr,
    /// The port of the API
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// What the API is called
    #[arg(long, default_value = "us-west-1.hyper.sh")]
    host: String,
    /// What requests are signed for
    #[arg(long, default_value = "us-west-1")]
    region: String,
    /// The first floating IP
    #[arg(long, default_value = "209.177.88.1")]
    first_fip: Ipv4Addr,
    /// How many there are
    #[arg(long, default_value_t = 16)]
    fips: u32,
    /// The account's access key
    #[arg(long, env = "HYPER_ACCESS_KEY")]
    access_key: String,
    /// The account's secret key
    #[arg(long, env = "HYPER_SECRET_KEY", hide_env_values = true)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.dir)?;
    let acceptor = acceptor(&arguments)?;
    forward::own("add", arguments.address).await?;
    let api = TcpListener::bind(SocketAddr::from((arguments.address, arguments.port))).await;
    let api = api.with_context(|| format!("the address {}:{}", arguments.address, arguments.port))?;
    let control = listen(&arguments.dir.join("control.sock"))?;
    let first = u32::from(arguments.first_fip);
    let port = if arguments.port == 443 { String::new() } else { format!(":{}", arguments.port) };
    let cloud = Arc::new(Cloud {
        authority: Authority {
            keys: [(arguments.access_key, arguments.secret_key)].into(),
            region: arguments.region,
            host: format!("{}{port}", arguments.host),
        },
        account: Account::default(),
        engine: Arc::new(Engine { socket: arguments.podman }),
        forwards: Forwards::default(),
        pool: (0..arguments.fips).map(|number| Ipv4Addr::from(first.saturating_add(number))).collect(),
    });
    let mut out = std::io::stdout();
    writeln!(
        out,
        "ENDPOINT=https://{}{port}\nADDRESS={}\nCA={dir}/ca.pem\nCONTROL={dir}/control.sock",
        arguments.host,
        arguments.address,
        dir = arguments.dir.display(),
    )?;
    out.flush()?;
    loop {
        tokio::select! {
            accepted = api.accept() => {
                let (stream, _) = accepted?;
                let (cloud, acceptor) = (cloud.clone(), acceptor.clone());
                tokio::spawn(async move {
                    // A client that gives up is its own affair.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serve(stream, |request| {
                        let cloud = cloud.clone();
                        async move { Ok::<_, Infallible>(cloud.answer(request).await) }
                    })
                    .await;
                });
            }
            accepted = control.accept() => {
                let (stream, _) = accepted?;
                let cloud = cloud.clone();
                tokio::spawn(async move {
                    serve(stream, |request| {
                        let cloud = cloud.clone();
                        async move { Ok::<_, Infallible>(control::answer(&cloud, request).await) }
                    })
                    .await;
                });
            }
        }
    }
}

async fn serve<F, R>(stream: impl AsyncRead + AsyncWrite + Unpin, answer: F)
where
    F: Fn(http::Request<hyper::body::Incoming>) -> R,
    R: Future<Output = Result<answer::Answer, Infallible>>,
{
    // What fails is the connection, which is gone then.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn listen(path: &Path) -> Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("the socket {}", path.display()))
}

/// A certificate of an authority of its own, which is left in the folder.
fn acceptor(arguments: &Arguments) -> Result<TlsAcceptor> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Hyper.sh for tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec![arguments.host.clone(), arguments.address.to_string()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    std::fs::write(arguments.dir.join("ca.pem"), authority.pem())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
