//! Serves until it is killed: `cargo run --example serve -- 127.0.0.1:0 https kubeconfig.yaml`.

use std::error::Error;

use incumbent_apiserver::{ApiServer, Transport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let transport = match arguments.next().as_deref() {
        Some("http") => Transport::Http,
        _ => Transport::Https,
    };
    let server = ApiServer::new();
    let listening = server.listen(address, transport).await?;
    println!("{}\n{}", listening.url(), server.admin_token());
    if let Some(path) = arguments.next() {
        std::fs::write(path, listening.kubeconfig())?;
    }
    std::future::pending().await
}
