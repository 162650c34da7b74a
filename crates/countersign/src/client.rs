//! Talks to a running server over its admin socket.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use countersign_api::admin::AdminProblem;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{config::Config, output::Failure};

/// The server of one data folder.
pub(crate) struct Client {
    data: PathBuf,
    socket: PathBuf,
}

impl Client {
    /// For the server of this folder, whether or not it runs.
    pub(crate) fn new(data: &Path) -> Result<Self, Failure> {
        let socket = Config::load(data)?.socket;
        Ok(Self { data: data.to_owned(), socket })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parsed(&self.ask(Method::GET, path, None).await?)
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        parsed(&self.ask(Method::POST, path, Some(body)).await?)
    }

    /// For what is answered without a document.
    pub(crate) async fn post_only(&self, path: &str, body: &Value) -> Result<(), Failure> {
        self.ask(Method::POST, path, Some(body)).await.map(drop)
    }

    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        parsed(&self.ask(Method::PATCH, path, Some(body)).await?)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, path, None).await.map(drop)
    }

    /// Hands the answer to `GET path` over piece by piece.
    pub(crate) async fn stream(&self, path: &str, piece: impl FnMut(&[u8])) -> Result<(), Failure> {
        Self::pieces(self.send(Method::GET, path, None).await?, piece).await
    }

    /// Hands the lines of the answer to `POST path` over, each as it comes.
    pub(crate) async fn lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        mut line: impl FnMut(T),
    ) -> Result<(), Failure> {
        let (mut rest, mut fault) = (Vec::new(), Ok(()));
        let response = self.send(Method::POST, path, Some(body)).await?;
        Self::pieces(response, |octets| {
            rest.extend_from_slice(octets);
            while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
                let whole: Vec<u8> = rest.drain(..=end).collect();
                match parsed(&whole) {
                    Ok(read) => line(read),
                    Err(unread) => fault = Err(unread),
                }
            }
        })
        .await?;
        fault
    }

    async fn pieces(response: Response<Incoming>, mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the answer broke off: the server's log says why")?;
            if let Some(octets) = frame.data_ref() {
                piece(octets);
            }
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Failure> {
        let response = self.send(method, path, body).await?;
        Ok(response.into_body().collect().await.context("the answer broke off")?.to_bytes())
    }

    /// An answer that is no error.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|fault| self.not_reached(&fault))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.context("the server's socket does not answer")?;
        tokio::spawn(connection);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{path}"))
            .header("host", "countersign")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .context("the request cannot be made")?;
        let response = sender.send_request(request).await.context("the server did not answer: its log may say why")?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        match serde_json::from_slice::<AdminProblem>(&body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(anyhow!("the server answered {status} without saying why").into()),
        }
    }

    fn not_reached(&self, fault: &io::Error) -> Failure {
        let (data, socket) = (self.data.display(), self.socket.display());
        let fault = match fault.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
                "no server is running on {data} (nothing answers at {socket}): start it with `countersign serve --data \
                 {data}`, or name another folder with --data"
            ),
            io::ErrorKind::PermissionDenied => anyhow!(
                "{socket} may not be opened by this account: run the command as the server's account or as root"
            ),
            _ => anyhow!("{socket} cannot be opened: {fault}"),
        };
        Failure::Local { code: "not_running", fault }
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .context("the server's answer is not understood: is it another version of countersign?")
        .map_err(Failure::from)
}

/// A text as one piece of a path or one value of a query.
pub(crate) fn piece(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' {
            out.push(char::from(octet));
        } else {
            let _infallible = write!(out, "%{octet:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_piece_of_a_path() {
        assert_eq!(piece("EXAMPLE\\joe"), "EXAMPLE%5Cjoe");
        assert_eq!(piece("../a b/ö?"), "%2E%2E%2Fa%20b%2F%C3%B6%3F");
    }
}
